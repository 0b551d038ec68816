# A mail came into Junk by IMAP: it is spam.
require ["vnd.dovecot.pipe", "copy", "imapsieve"];

pipe :copy "filterd-learn" ["--spam"];
