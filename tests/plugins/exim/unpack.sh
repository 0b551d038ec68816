#!/bin/sh
# Unpacks Debian's Exim beside the system's Postfix, which its package would remove. As root; .ci/run does it, too.
set -eu
into=${1:-/var/tmp/filterd-exim}
[ -x "$into/usr/sbin/exim4" ] && exit 0
# Exim looks for the user that it was built for.
id -u Debian-exim > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin Debian-exim
apt-get install -y -qq --no-install-recommends \
    $(apt-cache depends exim4-daemon-heavy | awk '/Depends: lib/ { print $2 }') > /dev/null
packages=$(mktemp -d)
cd "$packages"
apt-get download -qq exim4-daemon-heavy 2> /dev/null
mkdir -p "$into"
dpkg -x "$packages"/*.deb "$into"
cd / && rm -r "$packages"
