package tally

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Add leaves no field out.
func TestAdd(t *testing.T) {
	var n, m Counts
	v := reflect.ValueOf(&m).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i + 1))
	}
	n.Add(m)
	assert.Equal(t, m, n)
	n.Add(m)
	w := reflect.ValueOf(n)
	for i := range w.NumField() {
		assert.EqualValues(t, 2*(i+1), w.Field(i).Int(), w.Type().Field(i).Name)
	}
}

func TestTally(t *testing.T) {
	var a Tally
	sum, ended := a.Sum()
	assert.Zero(t, sum)
	assert.Equal(t, map[string]int64{}, ended)
	a.Ended(Counts{Requests: 3, BytesIn: 4, Open: 1, Queued: 1, Unread: 1}, "closed")
	a.Ended(Counts{Requests: 1, Queued: 5}, "inactive")
	a.Ended(Counts{}, "closed")
	sum, ended = a.Sum()
	assert.Equal(t, Counts{Requests: 4, BytesIn: 4}, sum)
	assert.Equal(t, map[string]int64{"closed": 2, "inactive": 1}, ended)
	ended["closed"] = 9
	_, ended = a.Sum()
	assert.EqualValues(t, 2, ended["closed"], "the map is the caller's")
}
