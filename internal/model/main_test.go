package model_test

import (
	"testing"

	_ "github.com/gobosh/bosh/internal/enginetest"
	"github.com/gobosh/bosh/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
