# A mail left Junk by IMAP: it is ham, unless it went into the bin. Who throws spam away does not call it ham.
require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment", "variables"];

if environment :matches "imap.mailbox" "*" {
    set "mailbox" "${1}";
}
# The names that mail programs give their bin; with a prefix ("INBOX.Trash") too.
if string :matches "${mailbox}" ["Trash", "Deleted*", "Bin", "*.Trash", "*/Trash", "*.Deleted*", "*/Deleted*"] {
    stop;
}
pipe :copy "filterd-learn" ["--ham"];
