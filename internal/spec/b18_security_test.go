package spec_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/enginetest"
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// XEP-0124, section 18.1: pipelining, on a plain listener. See also
// TestPipelineListener, and Options.Direct, with which no request waits.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(t, StdOptions)
		srv := boshtest.NewPipeServer(h)
		defer srv.Close()
		p := Dial(t, srv)
		app := Accept(t, h)
		conn, err := srv.Listener.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		defer conn.Close()

		// B18.1-1 the answers come in order, and not later than W. The direct
		// engine has read the second one when it holds the first.
		held := Patience
		if enginetest.Direct() {
			held = 0
		}
		began := time.Now()
		_, err = io.WriteString(conn, RawRequest(p.Body(1001, ""))+RawRequest(p.Body(1002, X("a"))))
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		assert.Equal(t, Complete(Empty), ReadAnswer(t, r))
		assert.Equal(t, held, time.Since(began))
		RequireRead(t, app, X("a"))
		_, err = io.WriteString(app, X("b"))
		require.NoError(t, err)
		assert.Equal(t, Complete(Answer(X("b"))), ReadAnswer(t, r))
		assert.Equal(t, held, time.Since(began))
	})
}

// XEP-0124, section 19.1: a session stays as secure as it began.
func TestSecurityOfConnections(t *testing.T) {
	plain := (*tls.ConnectionState)(nil)
	secure := &tls.ConnectionState{HandshakeComplete: true}
	for name, test := range map[string]struct{ first, other *tls.ConnectionState }{
		"B19.1-1 encrypted, then not":           {secure, plain},
		"B19.1-3 a certificate, then another":   {Certified("A"), Certified("B")},
		"B19.1-3 a certificate, then none":      {Certified("A"), secure},
		"B19.1-1 a certificate, then unsecured": {Certified("A"), plain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHandler(t, StdOptions)
				p := Dial(t, Over(h, test.first))
				app := Accept(t, h)
				assert.True(t, app.Session().Secure())
				assert.Equal(t, test.first, app.Session().TLS())

				// B19.1-2 only the connection is closed.
				held := p.Hold("")
				for _, body := range []string{p.Body(1002, X("a")), p.Body(1001, ""), p.Body(1009, ""), "<body sid='" + p.Sid + "' xmlns='" + NsBind + "'/>"} {
					assert.ErrorIs(t, boshtest.Post(t, Over(h, test.other), body).Err(), io.EOF)
				}
				assert.False(t, held.Answered())
				assert.NoError(t, app.Session().Err())
				next := p.Hold(X("b"))
				RequireRead(t, app, X("b"))
				assert.True(t, held.Answered())
				next.Cancel()
			})
		})
	}

	t.Run("B19.1-1 not encrypted, then encrypted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, StdOptions)
			p := Dial(t, Over(h, plain))
			p.Rt = Over(h, secure)
			p.Hold("").Cancel()
			assert.False(t, Accept(t, h).Session().Secure())
		})
	})
}

// XEP-0124, section 19.1, behind a proxy that ends TLS.
func TestSecurityBehindProxy(t *testing.T) {
	forwarded := func(proto string, h http.Handler) http.RoundTripper {
		return boshtest.InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Forwarded-Proto", proto)
			r.Header.Set("Forwarded", "proto="+proto)
			h.ServeHTTP(w, r)
		}))
	}
	t.Run("B19.1-4 a header that nobody vouches for is ignored", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, StdOptions)
			p := Dial(t, forwarded("https", h))
			assert.False(t, Accept(t, h).Session().Secure())
			p.Rt = forwarded("http", h)
			p.Hold("").Cancel()
		})
	})
	t.Run("B19.1-4 the configured function decides", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, With(func(o *bosh.Options) {
				o.Secure = func(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }
			}))
			p := Dial(t, forwarded("https", h))
			assert.True(t, Accept(t, h).Session().Secure())
			assert.ErrorIs(t, boshtest.Post(t, forwarded("http", h), p.Body(1001, "")).Err(), io.EOF)
			p.Hold("").Cancel()
		})
	})
	t.Run("B19.1-5 B17.2-12 sessions can be refused over plain HTTP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := NewHandler(t, With(func(o *bosh.Options) {
				o.Admit = func(ctx context.Context, r *http.Request, _ *bosh.Opening) (context.Context, error) {
					if r.TLS == nil {
						return nil, &bosh.Error{Condition: bosh.SeeOtherURI, URI: "https://bosh.test/"}
					}
					return ctx, nil
				}
			}))
			r := boshtest.Exchange(t, Over(h, nil), Creation())
			RequireEnd(t, r, bosh.SeeOtherURI)
			assert.Equal(t, "<uri>https://bosh.test/</uri>", r.Payload())
			assert.Empty(t, r.Attr("sid"))
			Dial(t, Over(h, &tls.ConnectionState{}))
		})
	})
}

// XEP-0124, section 19.3: the sid is a secret.
func TestSecrecyOfSids(t *testing.T) {
	Bubble(t, "B19.3-1 sids are unpredictable and do not repeat", StdOptions, func(b *Harness) {
		const n = 2000
		seen := make(map[string]bool)
		at := make([]map[byte]int, 26)
		for range n {
			sid := b.Create().Sid
			require.Len(b, strings.TrimSuffix(sid, ".owner"), 26, "of 5 bits each")
			seen[sid] = true
			for i := range at {
				if at[i] == nil {
					at[i] = make(map[byte]int)
				}
				at[i][sid[i]]++
			}
		}
		assert.Len(b, seen, n)
		for i, letters := range at {
			for letter, count := range letters {
				assert.InDelta(b, n/32, count, 60, "%c at %d", letter, i)
			}
		}
	})

	var log bytes.Buffer
	logged := StdOptions
	logged.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	logged.Serve = func(s *bosh.Stream) {
		if _, err := s.ReadElement(context.Background()); err == nil {
			panic("a bug")
		}
	}
	Bubble(t, "B19.3-1 and never logged", logged, func(b *Harness) {
		sid := b.Post(Complete("<body rid='1000' " + StdAttrs + "/>")).Body().Attr("sid")
		s := &Session{B: b, Sid: sid}
		s.Send(1001, X("a"))
		s.Send(1002)
		s.Send(1009)
		b.Wait(time.Hour)
		assert.Contains(b, log.String(), "a bug")
		assert.NotContains(b, log.String(), sid)
	})

	Std(t, "B19.3-1 nor told by errors and ids", func(b *Harness, s *Session) {
		assert.NotContains(b, s.App.Session().ID(), s.Sid)
		s.Send(1009)
		for _, err := range []error{s.App.Ended(), s.App.Session().Err()} {
			assert.NotContains(b, fmt.Sprintf("%v %+v", err, err), s.Sid)
		}
	})

	Std(t, "B19.3-2 guesses get the same text, and a wrong rid ends the session", func(b *Harness, s *Session) {
		wrong := b.Post(Complete("<body rid='1' sid='" + strings.Repeat("A", 26) + "'/>")).Answer()
		assert.Equal(b, wrong.Body, b.Post(Complete("<body rid='1' sid='x'/>")).Answer().Body)
		assert.Equal(b, wrong.Body, s.Send(5000).Answer().Body)
		assert.Equal(b, wrong.Body, s.Send(1001).Answer().Body)
		s.Gone()
	})
}

// sources parses the library's own files: the root package's, and those of the
// packages of this module that it is made of.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	const module = "github.com/gobosh/bosh/"
	files := make(map[string]*ast.File)
	fset := token.NewFileSet()
	seen := make(map[string]bool)
	var parse func(dir string)
	parse = func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		paths, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		require.NoError(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, path, nil, 0)
			require.NoError(t, err)
			rel, err := filepath.Rel(filepath.Join("..", ".."), path)
			require.NoError(t, err)
			files[rel] = f
			for _, imp := range f.Imports {
				name, err := strconv.Unquote(imp.Path.Value)
				require.NoError(t, err)
				if pkg, ok := strings.CutPrefix(name, module); ok {
					parse(filepath.FromSlash(pkg))
				}
			}
		}
	}
	parse(".")
	require.Greater(t, len(seen), 5)
	return files
}

// What can only be proven by looking at the library itself.
func TestSources(t *testing.T) {
	for path, f := range sources(t) {
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			// B19.4-1 SHA-1 is for keys alone.
			if name == "crypto/sha1" {
				assert.Equal(t, filepath.FromSlash("internal/session/window.go"), path)
			}
			// Package syscall has no function for what the kernel has still to send.
			if name == "unsafe" {
				assert.Equal(t, filepath.FromSlash("internal/direct/receipt_linux.go"), path)
			}
		}
		// B19.2-1 the library makes no connections. D4-1 nor does it ask DNS.
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, calls := range []string{"net.Dial", "net.Lookup", "net.Resolve", "net.DefaultResolver", "tls.Dial",
				"http.Client", "http.DefaultClient", "http.Transport", "http.DefaultTransport", "http.Get", "http.Post"} {
				name := pkg.Name + "." + sel.Sel.Name
				assert.False(t, strings.HasPrefix(name, calls), "%s uses %s", path, name)
			}
			return true
		})
	}
}

// XEP-0124, section 20.
func TestAnyPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		h := NewHandler(t, StdOptions)
		mux.Handle("/http-bind", h)
		mux.Handle("/http-bind/", h)
		mux.Handle("/", h)
		// B20-1 any path will do, with and without a slash.
		for _, path := range []string{"/http-bind", "/http-bind/", "/"} {
			rt := boshtest.InMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = path
				mux.ServeHTTP(w, r)
			}))
			p := Dial(t, rt)
			p.Hold(X("a")).Cancel()
			RequireRead(t, Accept(t, h), X("a"))
		}
	})
}

// XEP-0124, section 22: the schema.
func TestSchema(t *testing.T) {
	most := bosh.Options{
		Framing: bosh.Elements, Grace: -1, Wait: 1 << 62, Inactivity: 1 << 62, Polling: 1 << 62, Pause: 1 << 62, Hold: 1 << 30,
	}
	least := bosh.Options{
		Framing: bosh.Elements, Grace: -1, Wait: 1, Inactivity: 1, Polling: 1, Pause: 1, Hold: -1,
	}
	for name, o := range map[string]bosh.Options{"most": most, "least": least} {
		for _, attrs := range []string{"wait='99999999999999999999' hold='99999999999999999999'", "wait='0' hold='0'", ""} {
			Custom(t, "B22-1 numbers stay within their types: "+name+" "+attrs, o, "to='example.com' ver='1.11' "+attrs, func(b *Harness, s *Session) {
				limits := map[string]int{"hold": 255, "requests": 255, "wait": 65535, "inactivity": 65535, "polling": 65535, "maxpause": 65535}
				for attr, limit := range limits {
					n, err := strconv.Atoi(s.Granted.Attr(attr))
					require.NoError(b, err, attr)
					assert.GreaterOrEqual(b, n, 0, attr)
					assert.LessOrEqual(b, n, limit, attr)
				}
				ack, err := strconv.Atoi(s.Granted.Attr("ack"))
				require.NoError(b, err)
				assert.Positive(b, ack)
			})
		}
	}

	Std(t, "B22-2 no children of httpbind but uri", func(b *Harness, s *Session) {
		held := s.Send(1001, "<x/>")
		s.App.Reads("<x xmlns='" + NsBind + "'/>")
		// What the application puts into no namespace is declared so.
		s.App.Writes("<x/>")
		assert.Equal(b, "<x xmlns=''/>", string(held.Body().Payloads[0]))
	})

	Std(t, "B22-3 attributes of foreign namespaces are allowed", func(b *Harness, s *Session) {
		s.Send(1001, "xmlns:f='urn:f' f:rid='7' f:type='terminate' f:sid='x'", X("a")).Waits()
		s.App.Reads(X("a"))
		s.Alive()
	})
}
