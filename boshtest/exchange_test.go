package boshtest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestExchange(t *testing.T) {
	rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "text/xml; charset=utf-8", r.Header.Get("Content-Type"))
		w.Header().Set("X-Test", "1")
		io.WriteString(w, "<body type='terminate' condition='host-gone' xmlns='"+NSBind+"'><a/><b/></body>")
	}))
	r := Exchange(t, rt, "<body/>")
	assert.Equal(t, 200, r.Status)
	assert.Equal(t, "1", r.Header.Get("X-Test"))
	assert.Equal(t, "host-gone", r.Attr("condition"))
	assert.Equal(t, "<a/><b/>", r.Payload())
	assert.Equal(t, string(r.Text), r.String())

	r = Exchange(t, InMemory(http.NotFoundHandler()), "<body/>")
	assert.Equal(t, 404, r.Status)
	assert.Empty(t, r.Attr("condition"))
	assert.Empty(t, r.Payload())
}

func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		rt := InMemory(s)
		Exchange(t, rt, "<body rid='1'"+bodyNS+"/>")
		held := Post(t, rt, "<body rid='2' sid='s1'"+bodyNS+"/>")
		synctest.Wait()
		assert.False(t, held.Answered())
		other := Post(t, rt, "<body rid='3' sid='s1'"+bodyNS+"/>")
		assert.Empty(t, held.Wait().Payload())
		assert.True(t, held.Answered())
		assert.Equal(t, 60*time.Second, other.Wait().After)
		broken := Post(t, rt, "<body rid='4' sid='s1'"+bodyNS+"/>")
		synctest.Wait()
		broken.Cancel()
		assert.ErrorIs(t, broken.Err(), context.Canceled)
		assert.True(t, broken.Answered())
	})
}

func TestMalformedAnswers(t *testing.T) {
	for _, text := range []string{
		"", "x", "<body/>", "<body a='1' a='1' xmlns='" + NSBind + "'/>", "<body xmlns='" + NSBind + "'><x:a/></body>",
		"<body xmlns='" + NSBind + "'><a x:b='1'/></body>", "<body xmlns='" + NSBind + "'><a>&nbsp;</a></body>",
		"<body xmlns='" + NSBind + "'><a>\x01</a></body>", "<body xmlns='" + NSBind + "'><a>\xff</a></body>",
		"<body xmlns='" + NSBind + "'><a></b></body>", "<!DOCTYPE a><body xmlns='" + NSBind + "'/>",
		"<body xmlns='" + NSBind + "'><a xmlns:x='y'/><x:b/></body>",
	} {
		rt := InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) }))
		assert.Error(t, Post(t, rt, "").Err(), text)
	}
}
