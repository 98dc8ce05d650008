package direct

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// The date is that of the second, whenever in it an answer is made.
func TestDate(t *testing.T) {
	before := date() // of another clock
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			assert.Equal(t, time.Now().UTC().Format(http.TimeFormat), date())
			time.Sleep(300*time.Millisecond + 1)
		}
	})
	now := time.Now().UTC().Truncate(time.Second)
	assert.Contains(t, []string{now.Format(http.TimeFormat), now.Add(time.Second).Format(http.TimeFormat)}, date(), "after %s", before)
}
