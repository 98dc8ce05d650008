// Package defaults reads options: zero means a default, negative means none,
// and too large means the largest possible.
package defaults

import (
	"cmp"
	"time"
)

// MaxSeconds is the largest number of seconds on the wire.
const MaxSeconds = 1<<16 - 1

// Number returns n, def if it is zero, 0 if it is negative, and top if it is
// larger than top.
func Number(n, def, top int) int { return min(max(cmp.Or(n, def), 0), top) }

// Bound is Number for an unavoidable limit: a negative one stands for the
// largest possible.
func Bound[N int | int64](n, def, top N) N {
	if n < 0 {
		return top
	}
	return min(cmp.Or(n, def), top)
}

// Limit returns n, def if it is zero, and -1 if it is negative.
func Limit(n, def int) int { return max(cmp.Or(n, def), -1) }

// Duration returns d, def if it is zero, 0 if it is negative, and MaxSeconds as a
// duration if it is larger. A longer time-out means no more than this one, and could
// not be added to the time of day.
func Duration(d, def time.Duration) time.Duration {
	return min(max(cmp.Or(d, def), 0), MaxSeconds*time.Second)
}

// Seconds is Duration for values on the wire: whole seconds, at least one
// unless it is none, and not too many.
func Seconds(d, def time.Duration) time.Duration {
	d = Duration(d, def)
	if d > 0 {
		d = max(d.Truncate(time.Second), time.Second)
	}
	return d
}
