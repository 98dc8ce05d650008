package boshnats_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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
// three. Clients are in the same process, so their time is in all figures: the ratios are
// those of whole pings. Rounds of either kind take turns.
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
	}
}

// pings returns the processor time of a ping, with all there is, and the median of those
// at 300 a second.
func pings(t *testing.T, urls []string, anywhere bool) (cpu, p50 float64) {
	const sessions = 60
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
		for i := range sessions {
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
	before := used(t)
	n, _ := run(2*time.Second, 0)
	cpu = (used(t) - before) / float64(n)
	_, took := run(2*time.Second, sessions*time.Second/300)
	slices.Sort(took)
	require.NotEmpty(t, took)
	return cpu, took[len(took)/2]
}

// used returns the processor time of the process in ms.
func used(t *testing.T) float64 {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
