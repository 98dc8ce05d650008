package boshclient_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient"
	"github.com/gobosh/bosh/boshtest"
)

// FuzzAnswers is a hostile server: its answers are the lines of the input, the first to the
// creation. The client never panics, comes to an end, and hands on elements for
// encoding/xml.
func FuzzAnswers(f *testing.F) {
	for _, text := range []string{
		granted + "\n" + body("<a xmlns='u'>&lt;</a><b/>") + "\n" + body("", "type='terminate'"),
		createdXMPP + "><stream:features/></body>\n" + body("<stream:features/>", "authid='2'") + "\n" + body("<message/>", "type='terminate'", "condition='remote-stream-error'"),
		granted + "\n" + body("<data xmlns='urn:bosh:opaque:0'>YWJj</data>", "stream='a'", "ack='1'", "report='2'"),
		strings.Replace(granted, "requests='2'", "requests='99999' stream='s' polling='0'", 1) + "\n" + body("", "type='error'") + "\n<x/>\n",
		"<?xml version='1.0'?>" + granted + "\n" + body("", "type='terminate'", "condition='see-other-uri'") + "\n<html>",
		"<body sid='1' wait='-1' hold='x' inactivity='0' maxpause='99999999999999999999'" + ns + "/>\n<body xmlns='u'/>",
	} {
		f.Add([]byte(text), uint8(0))
		f.Add([]byte(text), uint8(1))
		f.Add([]byte(text), uint8(2))
	}
	f.Fuzz(func(t *testing.T, text []byte, framing uint8) {
		synctest.Test(t, func(t *testing.T) { hostile(t, bytes.Split(text, []byte("\n")), framing) })
	})
}

func hostile(t *testing.T, answers [][]byte, framing uint8) {
	s := &script{answer: func(n int, r *http.Request, _ *boshtest.Body) (any, error) {
		if n < len(answers) {
			return string(answers[n]), nil
		}
		return nil, io.ErrUnexpectedEOF
	}}
	o := boshclient.Options{Framing: boshclient.Framing(framing % 3), GiveUp: time.Minute, MaxBody: 1 << 16, ReadBuffer: 1 << 10}
	o.HTTPClient = &http.Client{Transport: s}
	c, err := boshclient.Dial(t.Context(), "http://example.com/", &o)
	if err != nil {
		return
	}
	defer c.CloseNow()
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	write := func(b string) { c.Write([]byte(b)) }
	switch o.Framing {
	case boshclient.XMPP:
		write(open)
		write("<message/>" + open)
	case boshclient.Elements:
		c.WriteElement(ctx, []byte("<a xmlns='u'/>"))
	default:
		write("abc")
	}
	go c.Pause(ctx, time.Second)
	go c.OpenStream(ctx, "b.example")
	for err == nil && o.Framing == boshclient.Elements {
		var el []byte
		if el, err = c.ReadElement(ctx); err == nil {
			d := xml.NewDecoder(bytes.NewReader(el))
			d.Strict = true
			for derr := error(nil); derr == nil; {
				if _, derr = d.Token(); derr != nil && derr != io.EOF && !odd(derr) {
					t.Errorf("%q: %v", el, derr)
				}
			}
		}
	}
	if err == nil {
		io.Copy(io.Discard, c)
	}
	if ctx.Err() != nil {
		t.Error("no end")
	}
}

// odd reports an error of encoding/xml about what XML 1.0, fifth edition, allows.
func odd(err error) bool {
	return strings.Contains(err.Error(), "invalid XML name") || strings.Contains(err.Error(), "illegal character code")
}

// FuzzState reads anything as a state. What it takes may be of no use, but does no harm.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"URL":"http://example.com/","Sid":"a","Rid":5}`))
	f.Add([]byte(`{"URL":"http://example.com/","Sid":"a","Rid":5,"Granted":{"Requests":2},"Saved":{"Framing":1,"Open":[{"Text":"PGEvPg=="}],"Out":[{"Kind":5},{"Data":"YQ=="}],"In":["YQ=="],"Part":"PGE=","Keys":["x"],"KeyLen":3}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var st boshclient.State
		if json.Unmarshal(text, &st) != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			s := &script{answer: func(int, *http.Request, *boshtest.Body) (any, error) { return body("", "type='terminate'"), nil }}
			c, err := boshclient.Resume(t.Context(), &st, &boshclient.Options{Framing: boshclient.Elements,
				HTTPClient: &http.Client{Transport: s}, GiveUp: time.Minute})
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
			time.Sleep(48 * time.Hour)
			c.CloseNow()
			c.State()
		})
	})
}

// A hostile server cannot make the client take much more memory than MaxBody, garbage
// included.
func TestHostileMemory(t *testing.T) {
	const size = 1 << 20
	for name, text := range map[string]string{
		"elements":  body(strings.Repeat("<a/>", size/4-100)),
		"attribute": body("", "a='"+strings.Repeat("x", size-100)+"'"),
		"depth":     body(strings.Repeat("<a>", size/3-100)),
		"prefixes":  "<body" + ns + " xmlns:p='" + strings.Repeat("u", size/2) + "'>" + strings.Repeat("<p:a/>", size/2/6-100) + "</body>",
		"text":      body("<a xmlns='u'>" + strings.Repeat("x", size-200) + "</a>"),
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answer: func(n int, _ *http.Request, _ *boshtest.Body) (any, error) {
				switch n {
				case 0:
					return nil, nil
				case 1:
					return text, nil
				}
				return body("", "type='terminate'"), nil
			}}
			o := elements
			o.MaxBody, o.GiveUp = size, -1
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c := s.dial(t, o)
			time.Sleep(time.Minute) // what is not read is not followed by more
			runtime.ReadMemStats(&after)
			grown := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%s: %d KB", name, grown>>10)
			assert.Less(t, grown, int64(100*size), name)
			require.NoError(t, c.CloseNow())
		})
	}
}
