# For mail that comes tagged: spam, and what `do: move` says, goes to Junk, and the user's own rules are not asked.
require ["fileinto", "mailbox"];

if anyof (header :is "X-Spam-Flag" "YES", header :is "X-Spam-Action" "move") {
    fileinto :create "Junk";
    stop;
}
