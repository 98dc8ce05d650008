#!/usr/bin/env bash
# Installs the XMPP servers and the HTTP proxies that the interop tests start,
# from Debian's packages. The packages' own services are not needed, and not
# started where they can be kept from it.
set -euo pipefail

missing=()
for package in prosody ejabberd nginx libnginx-mod-http-js caddy haproxy apache2-bin; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "${missing[@]}"
