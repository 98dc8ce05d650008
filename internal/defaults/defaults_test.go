package defaults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestNumber(t *testing.T) {
	for _, test := range [...]struct{ n, want int }{{0, 7}, {-1, 0}, {3, 3}, {10, 10}, {11, 10}} {
		assert.Equal(t, test.want, Number(test.n, 7, 10), "%d", test.n)
	}
}

func TestBound(t *testing.T) {
	for _, test := range [...]struct{ n, want int64 }{{0, 7}, {-1, 10}, {3, 3}, {10, 10}, {1 << 40, 10}} {
		assert.Equal(t, test.want, Bound(test.n, 7, 10), "%d", test.n)
	}
}

func TestDuration(t *testing.T) {
	assert.Equal(t, time.Second, Duration(0, time.Second))
	assert.Equal(t, time.Minute, Duration(time.Minute, time.Second))
	assert.Zero(t, Duration(-1, time.Second))
	assert.Equal(t, 65535*time.Second, Duration(1<<63-1, time.Second))
}

func TestLimit(t *testing.T) {
	for _, test := range [...]struct{ n, want int }{{0, 7}, {-1, -1}, {-9, -1}, {3, 3}} {
		assert.Equal(t, test.want, Limit(test.n, 7), "%d", test.n)
	}
}

// Numbers on the wire are whole, and stay within the schema's types.
func TestSeconds(t *testing.T) {
	for _, test := range [...]struct{ d, want time.Duration }{
		{0, 7 * time.Second}, {-1, 0}, {time.Millisecond, time.Second}, {1500 * time.Millisecond, time.Second},
		{time.Hour, time.Hour}, {100 * time.Hour, 65535 * time.Second},
	} {
		assert.Equal(t, test.want, Seconds(test.d, 7*time.Second), "%v", test.d)
	}
}
