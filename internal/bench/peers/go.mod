module github.com/gobosh/bosh/internal/bench/peers

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/gobosh/bosh v0.0.0
	github.com/gorilla/websocket v1.5.3
)

replace github.com/gobosh/bosh => ../../..
