// Package defaults reads options of which zero means a default, negative means
// none, and too large means the largest possible.
package defaults

import "time"

// MaxSeconds is the largest number of seconds that goes over the wire.
const MaxSeconds = 1<<16 - 1

// Number returns n, def if it is zero, 0 if it is negative, and top if it is
// larger than that.
func Number(n, def, top int) int {
	if n == 0 {
		n = def
	}
	return min(max(n, 0), top)
}

// Duration returns d, def if it is zero, and 0 if it is negative.
func Duration(d, def time.Duration) time.Duration {
	if d == 0 {
		d = def
	}
	return max(d, 0)
}

// Seconds is Duration for what goes over the wire: whole seconds, at least one
// unless it is none, and not too many.
func Seconds(d, def time.Duration) time.Duration {
	d = Duration(d, def)
	if d > 0 {
		d = max(d.Truncate(time.Second), time.Second)
	}
	return min(d, MaxSeconds*time.Second)
}
