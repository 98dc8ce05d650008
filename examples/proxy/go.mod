module github.com/gobosh/bosh/examples/proxy

go 1.26.0

require (
	github.com/gobosh/bosh v0.0.0
	github.com/stretchr/testify v1.11.1
	golang.org/x/net v0.60.0
	mellium.im/sasl v0.3.2
)

require (
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace (
	github.com/gobosh/bosh => ../..
	github.com/gobosh/bosh/boshnats => ../../boshnats
)
