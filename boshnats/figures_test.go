package boshnats_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/boshnats"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

var payloads = flag.Int("payloads", 60, "elements of each client of TestAnyNode, each way")

var figures = flag.Bool("figures", false, "measure requests that are passed on beside those that are not")

// TestFigures measures pings of 250 bytes at the node that has the session, and at any of
// three, which are in this process. Clients are in another one, so their time is in no
// figure of processor time. Rounds of either kind take turns.
//
//	go test -run TestFigures -figures -v .
func TestFigures(t *testing.T) {
	if !*figures {
		t.Skip("with -figures")
	}
	for _, direct := range []bool{false, true} {
		all := cluster(t, 3, func(_ *server.Options, _ *boshnats.Options, o *bosh.Options) { o.Direct = direct })
		var urls []string
		for _, s := range all {
			srv := httptest.NewServer(s.h)
			defer srv.Close()
			urls = append(urls, srv.URL)
		}
		var local, random [2][]float64 // CPU in ms, p50 in ms
		for range 3 {
			for _, anywhere := range []bool{false, true} {
				cpu, p50 := pings(t, urls, anywhere)
				to := &local
				if anywhere {
					to = &random
				}
				to[0], to[1] = append(to[0], cpu), append(to[1], p50)
			}
		}
		median := func(f []float64) float64 { slices.Sort(f); return f[len(f)/2] }
		fmt.Printf("direct=%v: CPU/ping %.3f ms local, %.3f random, ratio %.2f; p50 %.2f ms local, %.2f random, ratio %.2f\n", direct,
			median(local[0]), median(random[0]), median(random[0])/median(local[0]),
			median(local[1]), median(random[1]), median(random[1])/median(local[1]))
		var held [2][]float64 // bytes
		for range 3 {
			for i, anywhere := range []bool{false, true} {
				held[i] = append(held[i], holding(t, all, urls, anywhere))
			}
		}
		l, r := median(held[0]), median(held[1])
		fmt.Printf("direct=%v: a held request, and its client, %.1f KB local, %.1f relayed, difference %.1f KB\n", direct, l/1e3, r/1e3, (r-l)/1e3)
	}
	nobody := func(_ string, _ []byte, answer func([]byte, error)) { answer(nil, bosh.ErrNoNode) }
	alone := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo, Logger: slog.New(slog.DiscardHandler)})
	defer alone.Close()
	one := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo, Logger: slog.New(slog.DiscardHandler), Node: "a", Relay: nobody})
	defer one.Close()
	// What disturbs a round makes it longer, and never shorter.
	least := [2]float64{1e9, 1e9}
	for range 15 {
		for i, h := range []*bosh.Handler{alone, one} {
			least[i] = min(least[i], pingAt(t, h, 10_000))
		}
	}
	fmt.Printf("a request that is not relayed, to that of a Handler without Relay: %.3f (%.4f ms)\n", least[1]/least[0], least[0])
}

// pingAt returns the processor time of a ping at a Handler, without a network.
func pingAt(t *testing.T, h *bosh.Handler, n int) float64 {
	post := func(body string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		return w.Body.String()
	}
	_, after, _ := strings.Cut(post("<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>"), "sid='")
	sid, _, _ := strings.Cut(after, "'")
	payload := "<a xmlns='u'>" + strings.Repeat("x", 235) + "</a>"
	before := used(t)
	for i := range n {
		if got := post(fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'>%s</body>", i+2, sid, payload)); !strings.Contains(got, "xxxx") {
			t.Fatalf("no echo: %s", got)
		}
	}
	took := used(t) - before
	post(fmt.Sprintf("<body rid='%d' sid='%s' type='terminate' xmlns='http://jabber.org/protocol/httpbind'/>", n+2, sid))
	return took / float64(n)
}

// holding returns how much memory a held request takes, with its client, at the node that
// has its session or at another one.
func holding(t *testing.T, all []*site, urls []string, elsewhere bool) float64 {
	const n = 1500
	memory := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	open := func() (n int) {
		for _, s := range all {
			n += s.h.Stats().Open
		}
		return n
	}
	require.Eventually(t, func() bool { return open() == 0 }, 30*time.Second, 10*time.Millisecond)
	before := memory()
	var conns []net.Conn
	for i := range n {
		home := i % len(urls)
		w := httptest.NewRecorder()
		all[home].h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>")))
		_, after, _ := strings.Cut(w.Body.String(), "sid='")
		sid, _, _ := strings.Cut(after, "'")
		if elsewhere {
			home = (home + 1) % len(urls)
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(urls[home], "http://"))
		require.NoError(t, err)
		conns = append(conns, c)
		body := "<body rid='2' sid='" + sid + "' xmlns='http://jabber.org/protocol/httpbind'/>"
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	require.Eventually(t, func() bool { return open() == n }, 30*time.Second, 10*time.Millisecond)
	time.Sleep(time.Second)
	took := (memory() - before) / n
	for _, c := range conns {
		c.Close()
	}
	for _, s := range all {
		for session := range s.h.Sessions() {
			session.Terminate(nil)
		}
	}
	return took
}

// pings returns the processor time of a ping, with all there is, and the median of those
// at 300 a second.
func pings(t *testing.T, urls []string, anywhere bool) (cpu, p50 float64) {
	pinger := func(pause time.Duration) (n int, p50 float64) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestPinger$")
		cmd.Env = append(os.Environ(), "PINGER_URLS="+strings.Join(urls, " "), fmt.Sprint("PINGER_ANYWHERE=", anywhere), fmt.Sprint("PINGER_PAUSE=", pause))
		out, err := cmd.Output()
		require.NoError(t, err, "%s", out)
		_, err = fmt.Sscan(string(out), &n, &p50)
		require.NoError(t, err, "%s", out)
		return n, p50
	}
	before := used(t)
	n, _ := pinger(0)
	cpu = (used(t) - before) / float64(n)
	_, p50 = pinger(pingers * time.Second / 300)
	return cpu, p50
}

// pingers is how many sessions there are.
const pingers = 60

// TestPinger is the clients of pings.
func TestPinger(t *testing.T) {
	urls, anywhere := strings.Fields(os.Getenv("PINGER_URLS")), os.Getenv("PINGER_ANYWHERE") == "true"
	if len(urls) == 0 {
		t.Skip("for TestFigures")
	}
	pause, err := time.ParseDuration(os.Getenv("PINGER_PAUSE"))
	require.NoError(t, err)
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	defer hc.CloseIdleConnections()
	post := func(url, body string) string {
		resp, err := hc.Post(url, "text/xml", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	payload := "<a xmlns='u'>" + string(bytes.Repeat([]byte("x"), 235)) + "</a>"
	run := func(d, pause time.Duration) (n int, took []float64) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range pingers {
			wg.Go(func() {
				home := urls[i%len(urls)]
				_, after, _ := strings.Cut(post(home, "<body rid='1' to='x' wait='60' hold='1' ver='1.11' xmlns='http://jabber.org/protocol/httpbind'/>"), "sid='")
				sid, _, _ := strings.Cut(after, "'")
				time.Sleep(time.Duration(rand.Int64N(int64(pause) + 1)))
				for rid, began := 2, time.Now(); time.Since(began) < d; rid++ {
					url := home
					if anywhere {
						url = urls[rand.IntN(len(urls))]
					}
					at := time.Now()
					if got := post(url, fmt.Sprintf("<body rid='%d' sid='%s' xmlns='http://jabber.org/protocol/httpbind'>%s</body>", rid, sid, payload)); !strings.Contains(got, "xxxx") {
						t.Errorf("no echo: %s", got)
						return
					}
					ms := time.Since(at).Seconds() * 1000
					mu.Lock()
					n++
					took = append(took, ms)
					mu.Unlock()
					time.Sleep(pause)
				}
				post(home, fmt.Sprintf("<body rid='99999999' sid='%s' type='terminate' xmlns='http://jabber.org/protocol/httpbind'/>", sid))
			})
		}
		wg.Wait()
		return n, took
	}
	n, took := run(2*time.Second, pause)
	slices.Sort(took)
	require.NotEmpty(t, took)
	fmt.Println(n, took[len(took)/2])
}

// used returns the processor time of the process in ms.
func used(t *testing.T) float64 {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
