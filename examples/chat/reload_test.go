package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobosh/bosh/boshtest"
)

// A tab that is closed is gone for the others at once. One that is loaded again is never
// gone, and of one that nobody knows about they hear when its pause is over.
func TestLeave(t *testing.T) {
	const pause, never = 3 * time.Second, time.Duration(-1)
	fetch := func(path string) func(r *raw) {
		return func(r *raw) {
			resp, err := r.client.Get(r.url + path)
			if err != nil {
				r.t.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	after := func(d time.Duration, f func(r *raw)) func(r *raw) {
		return func(r *raw) { f(r); time.Sleep(d) }
	}
	for name, test := range map[string]struct {
		load, unload func(r *raw)
		gone         time.Duration
	}{
		"closed":                                     {fetch(""), func(*raw) {}, 0},
		"closed, of a front without a path":          {fetch("index.html"), func(*raw) {}, 0},
		"closed; another tab was opened long ago":    {fetch(""), after(11*time.Second, fetch("")), 0},
		"closed; another tab was opened, and runs":   {fetch(""), after(2*time.Second, after(0, func(r *raw) { fetch("")(r); fetch("about.json")(r) })), 0},
		"closed; another tab has just been opened":   {fetch(""), after(time.Second, fetch("")), pause},
		"loaded again":                               {fetch(""), fetch(""), never},
		"loaded again, slowly":                       {fetch(""), after(9*time.Second, fetch("")), never},
		"loaded again, and the good-bye comes late":  {fetch(""), func(r *raw) { fetch("")(r); fetch("about.json")(r); time.Sleep(time.Second / 2) }, never},
		"closed, and the page is of somebody else's": {func(*raw) {}, func(*raw) {}, pause},
		"loaded again, of somebody else's":           {func(*raw) {}, func(*raw) {}, never},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newTestServer(t)
				h := newBOSH(&config{maxpause: time.Minute}, srv)
				served := make(chan error, 1)
				go func() { served <- srv.serve(h.Listener()) }()
				memory := boshtest.InMemory(srv.reloads.page(h))
				bob := dialBOSH(t, boshtest.Config{URL: "https://localhost/", Transport: memory})
				bob.login("bob", "hunter2", "b")
				bob.send("<presence/>")
				bob.want("presence", "")

				jar, err := cookiejar.New(nil)
				if err != nil {
					t.Fatal(err)
				}
				r := &raw{t: t, url: "https://localhost/", client: &http.Client{Transport: memory, Jar: jar}, rid: 100, wait: 60}
				test.load(r)
				fetch("about.json")(r)
				r.login("alice", "secret")
				bob.want("presence", "")
				time.Sleep(20 * time.Second)
				test.unload(r)

				r.post(fmt.Sprintf(" pause='%d'", pause/time.Second), "<message xmlns='jabber:client' to='bob@localhost' type='chat'><body>last words</body></message>"+
					"<iq xmlns='jabber:client' type='set' id='leave'><leave xmlns='"+nsLeave+"'/></iq>")
				left := time.Now()
				if el := bob.want("message", "chat"); el.child("body").Text != "last words" {
					t.Errorf("got %+v", el)
				}
				if test.gone == never {
					time.Sleep(time.Second)
					if text := r.post("", "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='"+nsPing+"'/></iq>"); !strings.Contains(text, "type='result'") {
						t.Errorf("after the reload: %s", text)
					}
					bob.wantNothing()
				} else {
					bob.want("presence", "unavailable")
					if took := time.Since(left); took < test.gone || took > test.gone+3*time.Second || test.gone == 0 && took > 10*time.Millisecond { // Grace
						t.Errorf("gone after %v", took)
					}
				}
				bob.Close()
				go h.Shutdown(context.Background())
				srv.shutdown(context.Background())
				if err := <-served; err != nil {
					t.Error(err)
				}
				memory.Wait()
			})
		})
	}
}

// A crowd of browsers costs no more memory, and a page of it that is loaded again is not
// taken for one that is gone.
func TestReloadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l reloads
		request := func(browser string) *http.Request {
			return &http.Request{Header: http.Header{"Cookie": {browserCookie + "=" + browser}}}
		}
		for i := range 2 * maxBrowsers {
			l.note(fmt.Sprint(i), loadTime)
		}
		if len(l.until) > maxBrowsers {
			t.Errorf("%d browsers are known", len(l.until))
		}
		if l.over(request(fmt.Sprint(2*maxBrowsers - 1))) {
			t.Error("the last one is thought to be gone")
		}
		l.note(strings.Repeat("x", 1000), loadTime)
		if l.over(request(strings.Repeat("x", 1000))) {
			t.Error("a name that is too long is believed")
		}
		time.Sleep(loadTime + time.Second)
		l.note("new", loadTime)
		if len(l.until) != 1 || !l.over(request("1")) || l.over(request("new")) {
			t.Errorf("later %d are known", len(l.until))
		}
	})
}
