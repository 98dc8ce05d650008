#!/usr/bin/env bash
# Installs promtool and prometheus, from Debian's package, for the interop tests. Its service
# is not needed.
set -euo pipefail
command -v promtool >/dev/null && command -v prometheus >/dev/null && exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends prometheus
