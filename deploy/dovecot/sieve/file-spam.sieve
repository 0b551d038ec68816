# For mail that comes tagged: spam goes to Junk, and the user's own rules are not asked.
require ["fileinto", "mailbox"];

if header :is "X-Spam-Flag" "YES" {
    fileinto :create "Junk";
    stop;
}
