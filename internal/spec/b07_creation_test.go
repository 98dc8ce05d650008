package spec_test

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
	. "github.com/gobosh/bosh/internal/spec/harness"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// opening is a creation request of rid 1000.
func opening(attrs string, payloads ...string) string {
	return Complete("<body rid='1000' " + attrs + ">" + strings.Join(payloads, "") + "</body>")
}

// XEP-0124, section 7.1: the creation request.
func TestCreationRequest(t *testing.T) {
	Bubble(t, "B7.1-1 a request without sid creates a session", StdOptions, func(b *Harness) {
		assert.NotEmpty(b, b.Post(opening(StdAttrs)).Body().Attr("sid"))
		b.Post(opening(StdAttrs + " sid='nope'")).GetsNow(Condition(bosh.ItemNotFound))
		assert.Len(b, b.Apps, 1)
	})

	Std(t, "B7.1-2 all others need the sid of a live one", func(b *Harness, s *Session) {
		b.Wait(time.Hour)
		expired := s.Send(1001).Answer()
		for _, sid := range []string{"", "unknown"} {
			r := (&Session{B: b, Sid: sid}).Send(1001).Answer()
			assert.Equal(b, string(expired.Body), string(r.Body))
			assert.Equal(b, expired.Head, r.Head)
		}
	})

	Bubble(t, "B7.1-3 domains are compared without regard to case", With(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if !strings.EqualFold(op.To, "example.com") {
				return nil, &bosh.Error{Condition: bosh.HostUnknown}
			}
			return ctx, nil
		}
	}), func(b *Harness) {
		s := b.Create("to='EXAMPLE.com' ver='1.11'")
		assert.Equal(b, "EXAMPLE.com", s.App.Opening().To)
		b.Post(opening("to='example.org' ver='1.11'")).GetsNow(Condition(bosh.HostUnknown))
	})

	Bubble(t, "B7.1-4 the language goes to the application", StdOptions, func(b *Harness) {
		assert.Equal(b, "de", b.Create(StdAttrs, "xml:lang='de'").App.Opening().Lang)
		assert.Empty(b, b.Create().App.Opening().Lang, "Admit sets the default")
	})
	Bubble(t, "B7.1-4 and the default is the application's", With(func(o *bosh.Options) {
		o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
			if op.Lang == "" {
				op.Lang = "en"
			}
			return ctx, nil
		}
	}), func(b *Harness) {
		assert.Equal(b, "en", b.Create().App.Opening().Lang)
		assert.Equal(b, "de", b.Create(StdAttrs, "xml:lang='de'").App.Opening().Lang)
	})

	Bubble(t, "B7.1-5 without ver a client is legacy", StdOptions, func(b *Harness) {
		s := b.Create("to='example.com'")
		assert.Equal(b, http.StatusNotFound, s.Send(9999).Answer().Status)
		s = b.Create("to='example.com' ver='1.6'")
		s.Send(9999).GetsNow(Condition(bosh.ItemNotFound))
	})
	t.Run("B7.1-5 B7.1-6 B7.2-6 the version is the lower of both", func(t *testing.T) {
		for ver, want := range map[string]string{
			"1.6": "1.6", "1.9": "1.9", "1.10": "1.10", "1.11": "1.11", "1.12": "1.11", "2.0": "1.11", "0.9": "0.9", "10.0": "1.11",
			"1": "1.6", "abc": "1.6", "1.6.2": "1.6", "1.x": "1.6", "-1.6": "1.6", "99999999999999999999.1": "1.6",
		} {
			Custom(t, ver, StdOptions, "to='example.com' ver='"+ver+"'", func(b *Harness, s *Session) {
				assert.Equal(b, want, s.Granted.Attr("ver"))
				s.Send(9999).GetsNow(Condition(bosh.ItemNotFound)) // not legacy
			})
		}
		Custom(t, "none", StdOptions, "to='example.com'", func(b *Harness, s *Session) {
			assert.Equal(b, "1.11", s.Granted.Attr("ver"))
		})
	})

	Custom(t, "B7.1-7 no request waits for longer than wait", StdOptions, "to='example.com' wait='10' ver='1.11'", func(b *Harness, s *Session) {
		s.Send(1001).GetsAfter(9500*time.Millisecond, Empty)
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
			Custom(t, test.attrs, With(func(o *bosh.Options) { o.Wait = 90 * time.Second; o.Hold = 2 }),
				"to='example.com' ver='1.11' "+test.attrs, func(b *Harness, s *Session) {
					assert.Equal(b, test.wait, s.Granted.Attr("wait"))
					assert.Equal(b, test.hold, s.Granted.Attr("hold"))
				})
		}
		for _, attrs := range []string{"wait='-1'", "wait='x'", "wait=''", "wait='1.5'", "hold='-1'", "hold='x'"} {
			Bubble(t, attrs, StdOptions, func(b *Harness) {
				b.Post(opening("to='example.com' ver='1.11' " + attrs)).GetsNow(Condition(bosh.BadRequest))
			})
		}
	})

	Std(t, "B7.1-9 no more than hold are kept waiting", func(b *Harness, s *Session) {
		held := s.Send(1001, X("a"))
		next := s.Send(1002, X("b"))
		held.GetsNow(Empty)
		next.Waits()
	})

	for _, attr := range []string{"hold='0'", "wait='0'"} {
		Custom(t, "B7.1-10 with "+attr+" nothing is", StdOptions, "to='example.com' ver='1.11' "+attr, func(b *Harness, s *Session) {
			s.Send(1001).GetsNow(Empty)
		})
	}

	// B7.1-11: a route is a string for the application. The library has no
	// means to contact anyone.
	Custom(t, "B7.1-11 B7.1-12 route and from go to the application", StdOptions,
		StdAttrs+" route='xmpp:evil.example:25' from='user@example.com'", func(b *Harness, s *Session) {
			assert.Equal(b, "xmpp:evil.example:25", s.App.Opening().Route)
			assert.Equal(b, "user@example.com", s.App.Opening().From)
			assert.Equal(b, "example.com", s.App.Opening().To)
			assert.Equal(b, "example.com", s.Granted.Attr("from"))
		})

	for ack, acking := range map[string]bool{"1": true, "7": true, "0": false, "x": false} {
		Custom(t, "B7.1-13 ack='"+ack+"'", With(func(o *bosh.Options) { o.ReportAfter = -1 }), StdAttrs+" ack='"+ack+"'", func(b *Harness, s *Session) {
			s.App.Writes(X("a"))
			s.Send(1001)
			for rid := int64(1002); rid < 1010; rid++ {
				s.App.Writes(X("a"))
				s.Send(rid, "ack='1000'").GetsNow(Answer(X("a"))) // which acknowledges nothing
			}
			if acking {
				s.Send(1001).GetsNow(Answer(X("a")))
			} else {
				s.Send(1001).GetsAfter(Doubt, Condition(bosh.ItemNotFound))
			}
		})
	}

	// contentTypes are those of the answers to a creation, an empty request,
	// one with a payload, and an offence.
	contentTypes := func(b *Harness, attrs string) map[string]bool {
		s := b.Create(StdAttrs, attrs)
		calls := []*Call{s.Creator, s.Send(1001)}
		calls = append(calls, s.Send(1002, X("a")))
		s.App.Writes(X("b"))
		calls = append(calls, s.Send(1003), s.Send(9999))
		types := map[string]bool{}
		for _, c := range calls {
			types[strings.Join(c.Answer().Head["Content-Type"], "|")] = true
		}
		return types
	}
	Bubble(t, "B7.1-14 the type of all answers is text/xml", StdOptions, func(b *Harness) {
		assert.Equal(b, map[string]bool{"text/xml; charset=utf-8": true}, contentTypes(b, ""))
	})
	for _, content := range []string{"text/html; charset=utf-8", "text/plain", "application/xml; charset=UTF-8"} {
		Bubble(t, "B7.1-15 or as the client wants: "+content, StdOptions, func(b *Harness) {
			assert.Equal(b, map[string]bool{content: true}, contentTypes(b, "content='"+content+"'"))
			refused := b.Post(opening("ver='1.11' wait='x' content='" + content + "'"))
			refused.GetsNow(Condition(bosh.BadRequest))
			assert.Equal(b, content, refused.Answer().Head.Get("Content-Type"))
		})
	}
	for _, content := range []string{
		"text/xml&#13;&#10;X: y", "text/xml;&#10; charset=utf-8", "text/html; a=&quot;&#10;X: y&quot;", "", " ", "text", "image/svg+xml",
		"text/xml; charset=utf-16", "text/xml, text/html", "text/xml charset=utf-8", "text/xml;charset", "text/xml; charset=utf-8; charset=utf-7",
		"application/json", "text/xml; a=é", "text/xml; a=&#x85;b", "text/xml; a=" + strings.Repeat("b", 1000),
	} {
		Bubble(t, "B7.1-16 but not "+content, StdOptions, func(b *Harness) {
			types := contentTypes(b, "content='"+content+"'")
			assert.Equal(b, map[string]bool{"text/xml; charset=utf-8": true}, types)
			legacy := b.Post(opening("to='example.com' content='" + content + "'"))
			assert.NotContains(b, legacy.Answer().Head, "X")
			assert.NotEmpty(b, legacy.Body().Attr("sid"))
		})
	}
	Custom(t, "B7.1-16 nor with blanks around", StdOptions, StdAttrs+" content=' text/html '", func(b *Harness, s *Session) {
		assert.Equal(b, []string{"text/html"}, s.Creator.Answer().Head["Content-Type"])
	})
	Custom(t, "B7.1-16 nor what is on no list", With(func(o *bosh.Options) { o.Content = []string{} }), StdAttrs+" content='text/html'",
		func(b *Harness, s *Session) {
			assert.Equal(b, []string{"text/xml; charset=utf-8"}, s.Creator.Answer().Head["Content-Type"])
		})

	for _, to := range []string{"localhost.", "localhost&#x3002;"} {
		o := With(func(o *bosh.Options) {
			o.Framing, o.CreateTimeout, o.MaxStreams = bosh.XMPP, -1, 2
			o.Admit = func(ctx context.Context, _ *http.Request, op *bosh.Opening) (context.Context, error) {
				if op.To != "localhost" {
					return nil, &bosh.Error{Condition: bosh.HostUnknown}
				}
				return ctx, nil
			}
		})
		Custom(t, "B7.1-3 a dot at the end of `to` is none of the host's: "+to, o, "to='"+to+"' hold='1' wait='60' ver='1.11'", func(b *Harness, s *Session) {
			assert.Equal(b, "localhost", s.Granted.Attr("from"))
			assert.Equal(b, "localhost", s.App.Opening().To)
			assert.Contains(b, s.App.Text(), " to='localhost'")
			s.Send(1001, "to='"+to+"'").Answer()
			assert.Equal(b, "localhost", b.App(-1).Opening().To)
		})
	}
	Bubble(t, "B7.1-3 and alone it names no host", With(func(o *bosh.Options) { o.Framing = bosh.XMPP }), func(b *Harness) {
		b.Post(opening("to='.' ver='1.11'")).GetsNow(Condition(bosh.ImproperAddressing))
	})

	Std(t, "B7.1-17 attributes of the creation mean nothing later", func(b *Harness, s *Session) {
		c := s.Send(1001, "to='a' wait='1' hold='5' ver='1.0' content='text/html' route='x:y:1' from='b' xml:lang='de'")
		c.GetsAfter(Patience, Empty)
		assert.Equal(b, "text/xml; charset=utf-8", c.Answer().Head.Get("Content-Type"))
		c = s.Send(1002, X("a"))
		s.Send(1003, X("b"))
		c.GetsNow(Empty)
		assert.Equal(b, "example.com", s.App.Opening().To)
		assert.Empty(b, s.App.Opening().Lang)
	})

	Bubble(t, "B7.1-18 payloads of the creation are forwarded", StdOptions, func(b *Harness) {
		b.Post(opening(StdAttrs, X("a"), X("b")))
		b.App(0).Reads(X("a") + X("b"))
	})
	Bubble(t, "B7.1-18 behind the header of the stream", With(func(o *bosh.Options) { o.Framing = bosh.XMPP }), func(b *Harness) {
		b.Post(opening(StdAttrs, "<presence/>"))
		assert.Regexp(b, `^<stream:stream [^>]*><presence xmlns='jabber:client'/>$`, b.App(0).Text())
	})

	Bubble(t, "B7.1-19 the same creation twice makes two sessions", StdOptions, func(b *Harness) {
		one, two := b.Create(), b.Create()
		assert.NotEqual(b, one.Sid, two.Sid)
		two.Send(1001).Waits()
		b.Wait(30 * time.Second)
		one.Gone()
		two.Alive()
	})
}

// XEP-0124, section 7.2: the creation response.
func TestCreationResponse(t *testing.T) {
	Bubble(t, "B7.2-1 sids are unpredictable and unique", StdOptions, func(b *Harness) {
		const n = 2000 // enough to see what is not random
		seen := map[string]bool{}
		var counts [26]map[byte]int
		for range n {
			sid := b.Post(opening(StdAttrs)).Body().Attr("sid")
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

	Std(t, "B7.2-2 B7.2-8 B7.2-10 B7.2-15 what it says", func(b *Harness, s *Session) {
		assert.NotEmpty(b, s.Sid)
		for name, want := range map[string]string{
			"wait": "60", "hold": "1", "requests": "2", "polling": "5", "inactivity": "30", "maxpause": "120",
			"ver": "1.11", "from": "example.com",
		} {
			assert.Equal(b, want, s.Granted.Attr(name), name)
		}
		b.Wait(30*time.Second - 1)
		s.Alive()
		b.Wait(1)
		s.Gone()
	})
	Bubble(t, "B7.2-7 B7.2-15 and what is off it does not say", With(func(o *bosh.Options) {
		o.Polling, o.Inactivity, o.Pause = -1, -1, -1
	}), func(b *Harness) {
		s := b.Create()
		for _, name := range []string{"polling", "inactivity", "maxpause", "ack", "stream", "charsets"} {
			_, sent := s.Granted.Lookup(name)
			assert.False(b, sent, name)
		}
	})

	for _, test := range []struct {
		name, attrs string
		polling     time.Duration
		want        string // the attribute; empty if there is none
	}{
		{"by default", StdAttrs, 0, ""},
		{"set", StdAttrs, 7 * time.Second, "7"},
		{"less than it can say", StdAttrs, time.Millisecond, "1"},
		{"none", StdAttrs, -1, ""},
		{"of a polling session by default", "to='example.com' wait='0' hold='1' ver='1.11'", 0, "5"},
		{"of a polling session that sets it", "to='example.com' hold='0' ver='1.11'", 7 * time.Second, "7"},
		{"of a polling session without", "to='example.com' wait='0' hold='0' ver='1.11'", -1, ""},
	} {
		Custom(t, "B7.2-7 polling "+test.name, With(func(o *bosh.Options) { o.Polling = test.polling }), test.attrs, func(b *Harness, s *Session) {
			value, sent := s.Granted.Lookup("polling")
			assert.Equal(b, test.want, value)
			assert.Equal(b, test.want != "", sent)
			// Without it, empty requests may come as soon as the client likes.
			for rid := int64(1001); rid < 1011 && !sent; rid++ {
				s.Send(rid)
			}
			if !sent {
				s.Alive()
			}
		})
	}

	for hold := range 5 {
		Custom(t, fmt.Sprint("B7.2-4 B7.2-5 requests is hold and one, hold ", hold), With(func(o *bosh.Options) { o.Hold = 3 }),
			fmt.Sprintf("to='example.com' wait='60' ver='1.11' hold='%d'", hold), func(b *Harness, s *Session) {
				granted := min(hold, 3)
				assert.Equal(b, fmt.Sprint(granted), s.Granted.Attr("hold"))
				assert.Equal(b, fmt.Sprint(granted+1), s.Granted.Attr("requests"))
			})
	}

	// B7.2-11: from is always in the creation response, since it is the
	// domain that the client asked for; so it comes in no other.
	Std(t, "B7.2-11 B7.2-18 nothing of it is said again", func(b *Harness, s *Session) {
		last := s.Send(1001)
		for rid := int64(1002); rid < 1012; rid++ {
			if rid%3 == 0 {
				s.App.Writes(X("a"))
			}
			next := s.Send(rid, X("b"))
			body := last.Body()
			for _, name := range []string{"sid", "wait", "requests", "ver", "polling", "inactivity", "hold", "maxpause", "accept", "charsets", "from"} {
				_, sent := body.Lookup(name)
				assert.False(b, sent, "%s in %s", name, body)
			}
			last = next
		}
	})

	Bubble(t, "B7.2-14 ack announces acknowledgements", acks, func(b *Harness) {
		assert.Equal(b, "1000", b.Create().Granted.Attr("ack"))
	})

	Std(t, "B7.2-16 bodies are UTF-8", func(b *Harness, s *Session) {
		s.Send(1001, X("€ 😀 \u00a0"))
		s.App.Reads(X("€ 😀 \u00a0"))
		s.App.Writes(X("😀"))
		s.Send(1002, X("\xc3\x28")).GetsNow(Condition(bosh.BadRequest))
		s.App.Reads("")
	})
	Std(t, "B7.2-17 and nothing else, whatever the header says", func(b *Harness, s *Session) {
		b.Headers.Set("Content-Type", "text/xml; charset=iso-8859-1")
		_, sent := s.Granted.Lookup("charsets")
		assert.False(b, sent)
		s.Send(1001, X("ä"))
		s.App.Reads(X("ä"))
	})

	xmpp := With(func(o *bosh.Options) { o.Framing = bosh.XMPP })
	Bubble(t, "B7.2-19 the answer waits for the first payload", xmpp, func(b *Harness) {
		c := b.Post(opening(StdAttrs))
		b.Wait(2 * time.Second)
		c.Waits()
		b.App(0).Writes("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
		b.Wait(time.Second)
		c.Waits()
		b.App(0).Writes("<stream:features/>")
		assert.Equal(b, []string{"<stream:features/>"}, texts(c.Body().Payloads))
		assert.Equal(b, 3*time.Second, c.At())
	})
	Bubble(t, "B7.2-19 but not for ever", xmpp, func(b *Harness) {
		c := b.Post(opening(StdAttrs))
		b.Wait(10*time.Second - 1)
		c.Waits()
		b.Wait(1)
		assert.NotEmpty(b, c.Body().Attr("sid"))
		assert.Empty(b, c.Body().Payloads)
	})
	Bubble(t, "B7.2-19 nor for longer than wait", xmpp, func(b *Harness) {
		c := b.Post(opening("to='example.com' ver='1.11' wait='4'"))
		b.Wait(3800 * time.Millisecond)
		assert.Equal(b, 3800*time.Millisecond, c.At())
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
			Bubble(t, err.Error(), With(func(o *bosh.Options) {
				o.Admit = func(context.Context, *http.Request, *bosh.Opening) (context.Context, error) { return nil, err }
			}), func(b *Harness) {
				b.Post(opening(StdAttrs)).GetsNow(Condition(want))
				for range b.H.Sessions() {
					b.Error("a session was left")
				}
			})
		}
	})

	Std(t, "B7.2-21 the creation is a request of the session", func(b *Harness, s *Session) {
		first := s.Creator.Answer()
		for range 2 {
			r := b.Post(strings.Replace(s.Creator.Name, "<body", "<body sid='"+s.Sid+"'", 1)).Answer()
			assert.Equal(b, string(first.Body), string(r.Body))
			assert.Equal(b, first.Head, r.Head)
		}
		s.Send(1000).GetsNow(string(first.Body))
		s.Send(1001).Waits()
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
		Bubble(t, name, bosh.Options{Framing: bosh.Elements, Grace: grace, Serve: test.serve}, func(b *Harness) {
			c := b.Post(opening(StdAttrs))
			if test.want > 0 {
				c.Waits()
				b.Wait(test.want)
			}
			assert.Equal(b, b.Now(), c.At())
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
					srv := boshtest.NewPipeServer(WithEngine(t, StdOptions, isDirect))
					defer srv.Close()
					_, r := RawHTTP(t, srv.Listener, PostText("1.1", "", Creation("content='"+content+"'")))
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
