#!/usr/bin/env bash
# Installs what the interop tests need, and runs them. Chromium, the XMPP servers
# and the HTTP proxies come from Debian's packages if they are not there.
set -euo pipefail
cd "$(dirname "$0")/.."

export INTEROP_CHROMIUM=${INTEROP_CHROMIUM:-$(command -v chromium || true)}
if [ -z "$INTEROP_CHROMIUM" ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -q
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium
	INTEROP_CHROMIUM=$(command -v chromium)
fi
examples/proxy/ci-install.sh
npm --prefix internal/interop ci --no-audit --no-fund
examples/prometheus/ci-install.sh
(cd examples/prometheus && go vet -tags interop ./... && go test -tags interop -count=1 -timeout 5m ./...)
# Only the tests with the tag: .ci/run has run the others.
tests=$(grep -rl --include='*_test.go' --exclude-dir=node_modules '^//go:build interop' boshclient examples internal/interop |
	xargs sed -nE 's/^func (Test[A-Za-z0-9_]*)\(.*/\1/p' | sort -u | paste -sd'|')
interop() {
	go test -tags interop -run "^($1)\$" -count=1 -timeout 15m -p 1 "${@:2}"
}
interop "$tests" ./internal/interop ./boshclient/... ./examples/...
(cd examples/proxy && interop "$tests" ./...)
printf -- '-- with Direct, what the engine matters to\n'
export BOSH_ENGINE=direct
tests='TestStrophe|TestStanza|TestPush|TestOpaqueClient|TestProsody'
interop "$tests" ./internal/interop
(cd examples/proxy && interop "$tests" ./...)
