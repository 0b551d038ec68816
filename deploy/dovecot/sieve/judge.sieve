# For mail that nobody has judged yet: filterd does, a process for each recipient. As a test `filter` only says
# whether it worked; where it did not, the mail goes on as it came.
require ["vnd.dovecot.filter", "fileinto", "mailbox"];

if filter "filterd-tag" {
}
if header :is "X-Spam-Flag" "YES" {
    fileinto :create "Junk";
    stop;
}
