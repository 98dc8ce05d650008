package direct

import (
	"testing"

	"github.com/gobosh/bosh/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
