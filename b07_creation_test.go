package bosh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// opening is a creation request of rid 1000.
func opening(attrs string, payloads ...string) string {
	return complete("<body rid='1000' " + attrs + ">" + strings.Join(payloads, "") + "</body>")
}

// XEP-0124, section 7.1: the creation request.
func TestCreationRequest(t *testing.T) {
	bubble(t, "B7.1-1 a request without sid creates a session", stdOptions, func(b *bench) {
		assert.NotEmpty(b, b.post(opening(stdAttrs)).body().Attr("sid"))
		b.post(opening(stdAttrs + " sid='nope'")).getsNow(condition(bosh.ItemNotFound))
		assert.Len(b, b.apps, 1)
	})

	std(t, "B7.1-2 all others need the sid of a live one", func(b *bench, s *session) {
		b.wait(time.Hour)
		expired := s.send(1001).answer()
		for _, sid := range []string{"", "unknown"} {
			r := (&session{b: b, sid: sid}).send(1001).answer()
			assert.Equal(b, string(expired.body), string(r.body))
			assert.Equal(b, expired.header, r.header)
		}
	})

	bubble(t, "B7.1-3 domains are compared without regard to case", with(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if !strings.EqualFold(op.To, "example.com") {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return ctx, nil
		}
	}), func(b *bench) {
		s := b.create("to='EXAMPLE.com' ver='1.11'")
		assert.Equal(b, "EXAMPLE.com", s.app.Opening().To)
		b.post(opening("to='example.org' ver='1.11'")).getsNow(condition(bosh.HostUnknown))
	})

	bubble(t, "B7.1-4 the language goes to the application", stdOptions, func(b *bench) {
		assert.Equal(b, "de", b.create(stdAttrs, "xml:lang='de'").app.Opening().Lang)
		assert.Empty(b, b.create().app.Opening().Lang, "Admit sets the default")
	})
	bubble(t, "B7.1-4 and the default is the application's", with(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.Lang == "" {
				op.Lang = "en"
			}
			return ctx, nil
		}
	}), func(b *bench) {
		assert.Equal(b, "en", b.create().app.Opening().Lang)
		assert.Equal(b, "de", b.create(stdAttrs, "xml:lang='de'").app.Opening().Lang)
	})

	bubble(t, "B7.1-5 without ver a client is legacy", stdOptions, func(b *bench) {
		s := b.create("to='example.com'")
		assert.Equal(b, http.StatusNotFound, s.send(9999).answer().status)
		s = b.create("to='example.com' ver='1.6'")
		s.send(9999).getsNow(condition(bosh.ItemNotFound))
	})
	t.Run("B7.1-5 B7.1-6 B7.2-6 the version is the lower of both", func(t *testing.T) {
		for ver, want := range map[string]string{
			"1.6": "1.6", "1.9": "1.9", "1.10": "1.10", "1.11": "1.11", "1.12": "1.11", "2.0": "1.11", "0.9": "0.9", "10.0": "1.11",
			"1": "1.6", "abc": "1.6", "1.6.2": "1.6", "1.x": "1.6", "-1.6": "1.6", "99999999999999999999.1": "1.6",
		} {
			custom(t, ver, stdOptions, "to='example.com' ver='"+ver+"'", func(b *bench, s *session) {
				assert.Equal(b, want, s.granted.Attr("ver"))
				s.send(9999).getsNow(condition(bosh.ItemNotFound)) // not legacy
			})
		}
		custom(t, "none", stdOptions, "to='example.com'", func(b *bench, s *session) {
			assert.Equal(b, "1.11", s.granted.Attr("ver"))
		})
	})

	custom(t, "B7.1-7 no request waits for longer than wait", stdOptions, "to='example.com' wait='10' ver='1.11'", func(b *bench, s *session) {
		s.send(1001).getsAfter(9500*time.Millisecond, empty)
	})

	t.Run("B7.1-8 B7.2-3 B7.2-9 wait and hold", func(t *testing.T) {
		for _, test := range []struct{ attrs, wait, hold string }{
			{"", "60", "1"},
			{"wait='20' hold='1'", "20", "1"},
			{"wait='500' hold='9'", "90", "2"},
			{"wait='99999999999999999999' hold='99999999999999999999'", "90", "2"},
			{"wait='0' hold='0'", "0", "0"},
			{"wait=' 7 ' hold='02'", "7", "2"},
		} {
			custom(t, test.attrs, with(func(o *bosh.Options) { o.Wait = 90 * time.Second; o.Hold = 2 }),
				"to='example.com' ver='1.11' "+test.attrs, func(b *bench, s *session) {
					assert.Equal(b, test.wait, s.granted.Attr("wait"))
					assert.Equal(b, test.hold, s.granted.Attr("hold"))
				})
		}
		for _, attrs := range []string{"wait='-1'", "wait='x'", "wait=''", "wait='1.5'", "hold='-1'", "hold='x'"} {
			bubble(t, attrs, stdOptions, func(b *bench) {
				b.post(opening("to='example.com' ver='1.11' " + attrs)).getsNow(condition(bosh.BadRequest))
			})
		}
	})

	std(t, "B7.1-9 no more than hold are kept waiting", func(b *bench, s *session) {
		held := s.send(1001, x("a"))
		next := s.send(1002, x("b"))
		held.getsNow(empty)
		next.waits()
	})

	for _, attr := range []string{"hold='0'", "wait='0'"} {
		custom(t, "B7.1-10 with "+attr+" nothing is", stdOptions, "to='example.com' ver='1.11' "+attr, func(b *bench, s *session) {
			s.send(1001).getsNow(empty)
		})
	}

	// B7.1-11: a route is a string for the application. The library has no
	// means to contact anyone.
	custom(t, "B7.1-11 B7.1-12 route and from go to the application", stdOptions,
		stdAttrs+" route='xmpp:evil.example:25' from='user@example.com'", func(b *bench, s *session) {
			assert.Equal(b, "xmpp:evil.example:25", s.app.Opening().Route)
			assert.Equal(b, "user@example.com", s.app.Opening().From)
			assert.Equal(b, "example.com", s.app.Opening().To)
			assert.Equal(b, "example.com", s.granted.Attr("from"))
		})

	for ack, acking := range map[string]bool{"1": true, "7": true, "0": false, "x": false} {
		custom(t, "B7.1-13 ack='"+ack+"'", with(func(o *bosh.Options) { o.ReportAfter = -1 }), stdAttrs+" ack='"+ack+"'", func(b *bench, s *session) {
			s.app.writes(x("a"))
			s.send(1001)
			for rid := int64(1002); rid < 1010; rid++ {
				s.app.writes(x("a"))
				s.send(rid, "ack='1000'").getsNow(answer(x("a"))) // which acknowledges nothing
			}
			if acking {
				s.send(1001).getsNow(answer(x("a")))
			} else {
				s.send(1001).getsAfter(doubt, condition(bosh.ItemNotFound))
			}
		})
	}

	// contentTypes are those of the answers to a creation, an empty request,
	// one with a payload, and an offence.
	contentTypes := func(b *bench, attrs string) map[string]bool {
		s := b.create(stdAttrs, attrs)
		calls := []*call{s.creator, s.send(1001)}
		calls = append(calls, s.send(1002, x("a")))
		s.app.writes(x("b"))
		calls = append(calls, s.send(1003), s.send(9999))
		types := map[string]bool{}
		for _, c := range calls {
			types[strings.Join(c.answer().header["Content-Type"], "|")] = true
		}
		return types
	}
	bubble(t, "B7.1-14 the type of all answers is text/xml", stdOptions, func(b *bench) {
		assert.Equal(b, map[string]bool{"text/xml; charset=utf-8": true}, contentTypes(b, ""))
	})
	for _, content := range []string{"text/html; charset=utf-8", "text/plain", "application/xml; charset=UTF-8"} {
		bubble(t, "B7.1-15 or as the client wants: "+content, stdOptions, func(b *bench) {
			assert.Equal(b, map[string]bool{content: true}, contentTypes(b, "content='"+content+"'"))
			refused := b.post(opening("ver='1.11' wait='x' content='" + content + "'"))
			refused.getsNow(condition(bosh.BadRequest))
			assert.Equal(b, content, refused.answer().header.Get("Content-Type"))
		})
	}
	for _, content := range []string{
		"text/xml&#13;&#10;X: y", "text/xml;&#10; charset=utf-8", "text/html; a=&quot;&#10;X: y&quot;", "", " ", "text", "image/svg+xml",
		"text/xml; charset=utf-16", "text/xml, text/html", "text/xml charset=utf-8", "text/xml;charset", "text/xml; charset=utf-8; charset=utf-7",
		"application/json", "text/xml; a=é", "text/xml; a=&#x85;b", "text/xml; a=" + strings.Repeat("b", 1000),
	} {
		bubble(t, "B7.1-16 but not "+content, stdOptions, func(b *bench) {
			types := contentTypes(b, "content='"+content+"'")
			assert.Equal(b, map[string]bool{"text/xml; charset=utf-8": true}, types)
			legacy := b.post(opening("to='example.com' content='" + content + "'"))
			assert.NotContains(b, legacy.answer().header, "X")
			assert.NotEmpty(b, legacy.body().Attr("sid"))
		})
	}
	custom(t, "B7.1-16 nor with blanks around", stdOptions, stdAttrs+" content=' text/html '", func(b *bench, s *session) {
		assert.Equal(b, []string{"text/html"}, s.creator.answer().header["Content-Type"])
	})
	custom(t, "B7.1-16 nor what is on no list", with(func(o *bosh.Options) { o.Content = []string{} }), stdAttrs+" content='text/html'",
		func(b *bench, s *session) {
			assert.Equal(b, []string{"text/xml; charset=utf-8"}, s.creator.answer().header["Content-Type"])
		})

	for _, to := range []string{"localhost.", "localhost&#x3002;"} {
		o := with(func(o *bosh.Options) {
			o.Framing, o.CreateTimeout, o.MaxStreams = bosh.XMPP, -1, 2
			o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
				if op.To != "localhost" {
					return nil, &bosh.Error{Condition: bosh.HostUnknown}
				}
				return ctx, nil
			}
		})
		custom(t, "B7.1-3 a dot at the end of `to` is none of the host's: "+to, o, "to='"+to+"' hold='1' wait='60' ver='1.11'", func(b *bench, s *session) {
			assert.Equal(b, "localhost", s.granted.Attr("from"))
			assert.Equal(b, "localhost", s.app.Opening().To)
			assert.Contains(b, s.app.read(), " to='localhost'")
			s.send(1001, "to='"+to+"'").answer()
			assert.Equal(b, "localhost", b.app(-1).Opening().To)
		})
	}
	bubble(t, "B7.1-3 and alone it names no host", with(func(o *bosh.Options) { o.Framing = bosh.XMPP }), func(b *bench) {
		b.post(opening("to='.' ver='1.11'")).getsNow(condition(bosh.ImproperAddressing))
	})

	std(t, "B7.1-17 attributes of the creation mean nothing later", func(b *bench, s *session) {
		c := s.send(1001, "to='a' wait='1' hold='5' ver='1.0' content='text/html' route='x:y:1' from='b' xml:lang='de'")
		c.getsAfter(patience, empty)
		assert.Equal(b, "text/xml; charset=utf-8", c.answer().header.Get("Content-Type"))
		c = s.send(1002, x("a"))
		s.send(1003, x("b"))
		c.getsNow(empty)
		assert.Equal(b, "example.com", s.app.Opening().To)
		assert.Empty(b, s.app.Opening().Lang)
	})

	bubble(t, "B7.1-18 payloads of the creation are forwarded", stdOptions, func(b *bench) {
		b.post(opening(stdAttrs, x("a"), x("b")))
		b.app(0).reads(x("a") + x("b"))
	})
	bubble(t, "B7.1-18 behind the header of the stream", with(func(o *bosh.Options) { o.Framing = bosh.XMPP }), func(b *bench) {
		b.post(opening(stdAttrs, "<presence/>"))
		assert.Regexp(b, `^<stream:stream [^>]*><presence xmlns='jabber:client'/>$`, b.app(0).read())
	})

	bubble(t, "B7.1-19 the same creation twice makes two sessions", stdOptions, func(b *bench) {
		one, two := b.create(), b.create()
		assert.NotEqual(b, one.sid, two.sid)
		two.send(1001).waits()
		b.wait(30 * time.Second)
		one.gone()
		two.alive()
	})
}

// XEP-0124, section 7.2: the creation response.
func TestCreationResponse(t *testing.T) {
	bubble(t, "B7.2-1 sids are unpredictable and unique", stdOptions, func(b *bench) {
		const n = 2000 // enough to see what is not random
		seen := map[string]bool{}
		var counts [26]map[byte]int
		for range n {
			sid := b.post(opening(stdAttrs)).body().Attr("sid")
			require.Len(b, strings.TrimSuffix(sid, ".owner"), 26) // 5 bits each
			seen[sid] = true
			for i := range counts {
				if counts[i] == nil {
					counts[i] = map[byte]int{}
				}
				counts[i][sid[i]]++
			}
		}
		assert.Len(b, seen, n)
		for i, c := range counts {
			assert.Len(b, c, 32, "character %d", i)
			for ch, k := range c {
				assert.Less(b, k, n/10, "%c as character %d", ch, i)
			}
		}
	})

	std(t, "B7.2-2 B7.2-8 B7.2-10 B7.2-15 what it says", func(b *bench, s *session) {
		assert.NotEmpty(b, s.sid)
		for name, want := range map[string]string{
			"wait": "60", "hold": "1", "requests": "2", "polling": "5", "inactivity": "30", "maxpause": "120",
			"ver": "1.11", "from": "example.com",
		} {
			assert.Equal(b, want, s.granted.Attr(name), name)
		}
		b.wait(30*time.Second - 1)
		s.alive()
		b.wait(1)
		s.gone()
	})
	bubble(t, "B7.2-7 B7.2-15 and what is off it does not say", with(func(o *bosh.Options) {
		o.Polling, o.Inactivity, o.Pause = -1, -1, -1
	}), func(b *bench) {
		s := b.create()
		for _, name := range []string{"polling", "inactivity", "maxpause", "ack", "stream", "charsets"} {
			_, sent := s.granted.Lookup(name)
			assert.False(b, sent, name)
		}
	})

	for _, test := range []struct {
		name, attrs string
		polling     time.Duration
		want        string // the attribute; empty if there is none
	}{
		{"by default", stdAttrs, 0, ""},
		{"set", stdAttrs, 7 * time.Second, "7"},
		{"less than it can say", stdAttrs, time.Millisecond, "1"},
		{"none", stdAttrs, -1, ""},
		{"of a polling session by default", "to='example.com' wait='0' hold='1' ver='1.11'", 0, "5"},
		{"of a polling session that sets it", "to='example.com' hold='0' ver='1.11'", 7 * time.Second, "7"},
		{"of a polling session without", "to='example.com' wait='0' hold='0' ver='1.11'", -1, ""},
	} {
		custom(t, "B7.2-7 polling "+test.name, with(func(o *bosh.Options) { o.Polling = test.polling }), test.attrs, func(b *bench, s *session) {
			value, sent := s.granted.Lookup("polling")
			assert.Equal(b, test.want, value)
			assert.Equal(b, test.want != "", sent)
			// Without it, empty requests may come as soon as the client likes.
			for rid := int64(1001); rid < 1011 && !sent; rid++ {
				s.send(rid)
			}
			if !sent {
				s.alive()
			}
		})
	}

	for hold := range 5 {
		custom(t, fmt.Sprint("B7.2-4 B7.2-5 requests is hold and one, hold ", hold), with(func(o *bosh.Options) { o.Hold = 3 }),
			fmt.Sprintf("to='example.com' wait='60' ver='1.11' hold='%d'", hold), func(b *bench, s *session) {
				granted := min(hold, 3)
				assert.Equal(b, fmt.Sprint(granted), s.granted.Attr("hold"))
				assert.Equal(b, fmt.Sprint(granted+1), s.granted.Attr("requests"))
			})
	}

	// B7.2-11: from is always in the creation response, since it is the
	// domain that the client asked for; so it comes in no other.
	std(t, "B7.2-11 B7.2-18 nothing of it is said again", func(b *bench, s *session) {
		last := s.send(1001)
		for rid := int64(1002); rid < 1012; rid++ {
			if rid%3 == 0 {
				s.app.writes(x("a"))
			}
			next := s.send(rid, x("b"))
			body := last.body()
			for _, name := range []string{"sid", "wait", "requests", "ver", "polling", "inactivity", "hold", "maxpause", "accept", "charsets", "from"} {
				_, sent := body.Lookup(name)
				assert.False(b, sent, "%s in %s", name, body)
			}
			last = next
		}
	})

	bubble(t, "B7.2-14 ack announces acknowledgements", acks, func(b *bench) {
		assert.Equal(b, "1000", b.create().granted.Attr("ack"))
	})

	std(t, "B7.2-16 bodies are UTF-8", func(b *bench, s *session) {
		s.send(1001, x("€ 😀 \u00a0"))
		s.app.reads(x("€ 😀 \u00a0"))
		s.app.writes(x("😀"))
		s.send(1002, x("\xc3\x28")).getsNow(condition(bosh.BadRequest))
		s.app.reads("")
	})
	std(t, "B7.2-17 and nothing else, whatever the header says", func(b *bench, s *session) {
		b.headers.Set("Content-Type", "text/xml; charset=iso-8859-1")
		_, sent := s.granted.Lookup("charsets")
		assert.False(b, sent)
		s.send(1001, x("ä"))
		s.app.reads(x("ä"))
	})

	xmpp := with(func(o *bosh.Options) { o.Framing = bosh.XMPP })
	bubble(t, "B7.2-19 the answer waits for the first payload", xmpp, func(b *bench) {
		c := b.post(opening(stdAttrs))
		b.wait(2 * time.Second)
		c.waits()
		b.app(0).writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
		b.wait(time.Second)
		c.waits()
		b.app(0).writes("<stream:features/>")
		assert.Equal(b, []string{"<stream:features/>"}, texts(c.body().Payloads))
		assert.Equal(b, 3*time.Second, c.at())
	})
	bubble(t, "B7.2-19 but not for ever", xmpp, func(b *bench) {
		c := b.post(opening(stdAttrs))
		b.wait(10*time.Second - 1)
		c.waits()
		b.wait(1)
		assert.NotEmpty(b, c.body().Attr("sid"))
		assert.Empty(b, c.body().Payloads)
	})
	bubble(t, "B7.2-19 nor for longer than wait", xmpp, func(b *bench) {
		c := b.post(opening("to='example.com' ver='1.11' wait='4'"))
		b.wait(3800 * time.Millisecond)
		assert.Equal(b, 3800*time.Millisecond, c.at())
	})

	t.Run("B7.2-20 a refusal has the condition and no sid", func(t *testing.T) {
		for err, want := range map[error]bosh.Condition{
			&bosh.Error{Condition: bosh.RemoteConnectionFailed}:                                 bosh.RemoteConnectionFailed,
			&bosh.Error{Condition: bosh.HostGone, Err: io.EOF}:                                  bosh.HostGone,
			fmt.Errorf("no: %w", &bosh.Error{Condition: bosh.HostUnknown}):                      bosh.HostUnknown,
			errors.New("unexpected"):                                                            bosh.InternalServerError,
			&bosh.Error{}:                                                                       bosh.InternalServerError,
			fmt.Errorf("no such: %w", &bosh.Error{Condition: bosh.Condition("something-else")}): bosh.InternalServerError,
		} {
			bubble(t, err.Error(), with(func(o *bosh.Options) {
				o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { return nil, err }
			}), func(b *bench) {
				b.post(opening(stdAttrs)).getsNow(condition(want))
				for range b.h.Sessions() {
					b.Error("a session was left")
				}
			})
		}
	})

	std(t, "B7.2-21 the creation is a request of the session", func(b *bench, s *session) {
		first := s.creator.answer()
		for range 2 {
			r := b.post(strings.Replace(s.creator.name, "<body", "<body sid='"+s.sid+"'", 1)).answer()
			assert.Equal(b, string(first.body), string(r.body))
			assert.Equal(b, first.header, r.header)
		}
		s.send(1000).getsNow(string(first.body))
		s.send(1001).waits()
	})
}

// The answer to a creation has the application's first output, if there is to be
// any soon, and does not wait for an application that waits itself.
func TestCreationWaits(t *testing.T) {
	const grace = 50 * time.Millisecond
	for name, test := range map[string]struct {
		serve func(*bosh.Stream)
		want  time.Duration
	}{
		"an application that reads":            {func(st *bosh.Stream) { st.Read(make([]byte, 1)) }, 0},
		"one that reads after a while":         {func(st *bosh.Stream) { time.Sleep(grace / 2); st.Read(make([]byte, 1)) }, grace / 2},
		"one that does neither read nor write": {func(st *bosh.Stream) { <-st.Context().Done() }, grace},
	} {
		bubble(t, name, bosh.Options{Framing: bosh.Elements, Grace: grace, Serve: test.serve}, func(b *bench) {
			c := b.post(opening(stdAttrs))
			if test.want > 0 {
				c.waits()
				b.wait(test.want)
			}
			assert.Equal(b, b.now(), c.at())
		})
	}
}

// B7.1-16 nothing that a client asks for splits the head of an answer, whoever writes
// it.
func TestContentSplitsNoHeader(t *testing.T) {
	for _, isDirect := range []bool{false, true} {
		for _, content := range []string{"text/html&#13;&#10;X: y", "text/html; a=&quot;&#10;X: y&quot;", "text/html; a=&#xD;X", "text/html"} {
			t.Run(fmt.Sprint(isDirect, content), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := boshtest.NewPipeServer(withEngine(t, stdOptions, isDirect))
					defer srv.Close()
					_, r := rawHTTP(t, srv.Listener, postText("1.1", "", creation("content='"+content+"'")))
					resp, err := http.ReadResponse(r, nil)
					require.NoError(t, err)
					want := "text/xml; charset=utf-8"
					if content == "text/html" {
						want = content
					}
					assert.Equal(t, []string{want}, resp.Header["Content-Type"])
					assert.NotContains(t, resp.Header, "X")
					text, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					assert.Contains(t, string(text), " sid=")
				})
			})
		}
	}
}
