package spec_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	. "github.com/gobosh/bosh/internal/spec/harness"
)

// FuzzHandler feeds a Handler with the lines of its input, each the body of a
// request, in which $S stands for the sid of the session that the first of them
// opened. A line that begins with a digit waits that many seconds instead, and
// one that begins with ! goes out on a connection that breaks at once. Whatever
// comes, each answer must be a body, the Handler must stay usable, and no
// goroutine may be left.
func FuzzHandler(f *testing.F) {
	const ns = ` xmlns='http://jabber.org/protocol/httpbind'`
	open := `<body rid='1' to='x' hold='1' wait='9' ver='1.11'` + ns + `/>`
	for _, rest := range []string{
		`<body rid='2' sid='$S'` + ns + `><a/></body>`,
		`<body rid='3' sid='$S'` + ns + `/>` + "\n" + `<body rid='2' sid='$S'` + ns + `/>` + "\n9\n" + `<body rid='2' sid='$S'` + ns + `/>`,
		`<body rid='2' sid='$S' pause='9'` + ns + `/>` + "\n" + `<body rid='2' sid='$S' pause='9'` + ns + `/>`,
		`<body rid='2' sid='$S' type='terminate'` + ns + `><a/></body>` + "\n" + `<body rid='2' sid='$S' type='terminate'` + ns + `><a/></body>`,
		`!<body rid='2' sid='$S'` + ns + `/>` + "\n" + `<body rid='3' sid='$S' to='y'` + ns + `/>` + "\n" + `<body rid='4' sid='$S' to='y'` + ns + `/>`,
		`<body rid='2' sid='$S' xmpp:restart='true'` + ns + `/>` + "\n" + `<body rid='3' sid='$S' ack='1'` + ns + `><a></body>`,
		`<body rid='9' sid='$S'` + ns + `/>`,
	} {
		f.Add(uint8(0), open+"\n"+rest)
		f.Add(uint8(1), open+"\n"+rest)
		f.Add(uint8(2), open+"\n"+rest)
	}
	f.Fuzz(func(t *testing.T, framing uint8, script string) {
		if len(script) > 1<<14 || strings.Count(script, "\n") > 40 {
			return
		}
		synctest.Test(t, func(t *testing.T) { runScript(t, bosh.Framing(framing%3), script) })
	})
}

func runScript(t *testing.T, framing bosh.Framing, script string) {
	h := bosh.New(bosh.Options{
		Framing: framing, MaxStreams: 3, ReadBuffer: 64, WriteBuffer: 64, MaxBody: 4096,
		Logger: slog.New(slog.DiscardHandler), Serve: echo,
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	post := func(ctx context.Context, body string) {
		w := httptest.NewRecorder()
		Serve(h, w, httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(body)))
		if ctx.Err() == nil {
			checkAnswer(t, w)
		}
	}
	sid := ""
	for i, line := range strings.Split(script, "\n") {
		if i == 0 {
			w := httptest.NewRecorder()
			Serve(h, w, httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(line)))
			checkAnswer(t, w)
			if _, after, ok := strings.Cut(w.Body.String(), "sid='"); ok {
				sid, _, _ = strings.Cut(after, "'")
			}
			continue
		}
		body, broken := strings.CutPrefix(strings.ReplaceAll(line, "$S", sid), "!")
		switch {
		case broken:
			ctx, cancel := context.WithCancel(ctx)
			wg.Go(func() { post(ctx, body) })
			synctest.Wait()
			cancel()
		case len(body) > 0 && body[0] >= '0' && body[0] <= '9':
			time.Sleep(time.Duration(body[0]-'0') * time.Second)
		default:
			wg.Go(func() { post(ctx, body) })
		}
		synctest.Wait()
	}
	h.Close()
	synctest.Wait()
	cancel()
	wg.Wait()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("<body/>")))
	checkAnswer(t, w)
}

// echo writes back what it reads, and then something more.
func echo(s *bosh.Stream) {
	if s.Opening().Framing == bosh.XMPP {
		io.WriteString(s, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='i'><stream:features/>")
		io.Copy(io.Discard, s)
		io.WriteString(s, "<message/></stream:stream>")
		return
	}
	io.Copy(s, s)
}

// checkAnswer checks that an answer is one body and nothing else.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	switch w.Code {
	case 200:
	case 400, 403, 404: // for clients without a version
		return
	default:
		t.Fatalf("status %d", w.Code)
	}
	var body struct {
		XMLName xml.Name `xml:"http://jabber.org/protocol/httpbind body"`
	}
	d := xml.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	if err := d.Decode(&body); err != nil {
		t.Fatalf("%v: %q", err, w.Body)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more than a body: %q", w.Body)
	}
}

// FuzzImport imports what may be a session, and uses it as anybody would: nothing panics,
// and the Handler stays usable.
func FuzzImport(f *testing.F) {
	for _, framing := range []bosh.Framing{bosh.XMPP, bosh.Elements, bosh.Opaque} {
		for _, more := range []string{"", "<body rid='3' sid='$S' xmlns='http://jabber.org/protocol/httpbind'/>", "<body rid='2' sid='$S' to='y' xmlns='http://jabber.org/protocol/httpbind'/>"} {
			f.Add(exported(framing, more))
		}
	}
	f.Fuzz(runImported)
}

func runImported(t *testing.T, state []byte) {
	h := bosh.New(bosh.Options{MaxStreams: 3, MaxMemory: 1 << 20, Logger: slog.New(slog.DiscardHandler), Serve: echo})
	s, err := h.Import(state)
	if err == nil {
		for _, st := range s.Streams() {
			st.Proven()
			st.TryWrite([]byte("<a/>"))
		}
		sid := regexp.MustCompile(`[A-Z0-9][A-Za-z0-9.-]{15,127}`).FindString(string(state))
		for rid := range int64(5) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			Serve(h, httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(
				fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'><p xmlns=''/></body>", rid+1, sid))))
			cancel()
		}
		s.Export(nil)
	}
	h.Close()
}

// exported returns the state of a session that something has been sent to.
func exported(framing bosh.Framing, more string) []byte {
	h := bosh.New(bosh.Options{Framing: framing, MaxStreams: 3, CreateTimeout: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	defer h.Close()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(strings.Replace(Creation(), "1000", "1", 1))))
	_, after, _ := strings.Cut(w.Body.String(), "sid='")
	sid, _, _ := strings.Cut(after, "'")
	c, _ := h.Listener().Accept()
	st := c.(*bosh.Stream)
	if framing == bosh.XMPP {
		st.Write([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"))
	}
	st.Write([]byte("<a/>"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if more != "" {
		Serve(h, httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(strings.ReplaceAll(more, "$S", sid))))
	}
	state, err := st.Session().Export([]byte("app"))
	if err != nil {
		panic(err)
	}
	return state
}
