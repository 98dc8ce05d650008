package monitor

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The policy names the hash of the style exactly as it is in the page, and
// lets nothing else in.
func TestPolicy(t *testing.T) {
	w := get(t, monitorOf(many(3)...), "")
	text := w.Body.String()
	_, rest, _ := strings.Cut(text, "<style>")
	css, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(css))
	csp := w.Header().Get("Content-Security-Policy")
	if css == "" || !strings.Contains(csp, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the style is not the one of the policy %q", csp)
	}
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("no %s in the policy %q", want, csp)
		}
	}
	if regexp.MustCompile(`<script|<link|<img|\son\w+=|\sstyle=`).MatchString(text) {
		t.Error("the page has what its policy forbids")
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the page may be kept")
	}
}

// Whatever a client calls itself is text, and short.
func TestHostileClient(t *testing.T) {
	const evil = `"><script>alert(1)</script><b a='`
	w := get(t, monitorOf(&fake{id: "a", agent: evil + strings.Repeat("é", 1<<16), to: []string{evil}}), "?after=&ended="+`<i>"`)
	text := w.Body.String()
	if strings.Contains(text, "<script") || strings.Contains(text, "<i>") || strings.Contains(text, "<b a") {
		t.Error("the client has written the page")
	}
	if len(text) > 20_000 || strings.Contains(text, "\ufffd") {
		t.Errorf("%d bytes, or cut in a character", len(text))
	}
}

func TestPage(t *testing.T) {
	h := monitorOf(many(pageSize + 1)...)
	w := get(t, h, "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d, %s", w.Code, w.Header())
	}
	text := w.Body.String()
	for _, want := range []string{`inactive <b>7</b>`, `Node node-b</b> <span>requests passed on to it <b>4711</b></span> <span>from it <b>815</b>`, `never heard`, `failed <b>17</b>`, `<a href="?page=2">Next</a>`, `<a href="?page=2">Last</a>`, "1 to 100 of 101", "of 500", "1.5 MB <small>of 3.0 MB", "26 h 0 min", "host-unknown <b>4</b>", "2.5 MB", `name="id" value="2s"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if n := strings.Count(text, `method="post"`); n != pageSize {
		t.Errorf("%d forms", n)
	}
	if strings.Index(text, "inactive <b>") > strings.Index(text, "closed <b>") {
		t.Error("the most frequent reason is not the first")
	}
	if strings.Contains(text, "bad-request") || strings.Contains(text, "Previous") {
		t.Error("the page has what there is none of")
	}
	text = get(t, h, "?page=2").Body.String()
	if strings.Contains(text, ">Next<") || !strings.Contains(text, `<a href="?">First</a>`) || !strings.Contains(text, `<a href="?">Previous</a>`) || !strings.Contains(text, "101 to 101 of 101") {
		t.Error("the last page does not know that it is")
	}
	if text = get(t, monitorOf(), "").Body.String(); !strings.Contains(text, "No sessions.") {
		t.Error("an empty page says nothing")
	}
}

func TestRefresh(t *testing.T) {
	h := monitorOf(many(3)...)
	for query, want := range map[string]string{
		"":                             "",
		"?refresh=0":                   "",
		"?refresh=-3":                  "",
		"?refresh=soon":                "",
		"?refresh=5":                   "5; url=?refresh=5",
		"?refresh=99999":               "3600; url=?refresh=3600",
		"?refresh=5&after=a&ended=b":   "5; url=?after=a&refresh=5",
		"?refresh=5&page=9&sort=x&q=+": "5; url=?refresh=5",
		"?sort=queued&q=a&refresh=5":   "5; url=?q=a&sort=queued&refresh=5",
		"?refresh=5&after=%0d%0aX:%20": "5; url=?after=%0D%0AX%3A+&refresh=5",
	} {
		if got := get(t, h, query).Header().Get("Refresh"); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_940: "9.9 kB", 9_999: "10 kB", 123_456: "123 kB",
		999_499: "999 kB", 999_500: "1.0 MB", 5_000_000_000: "5.0 GB", 1<<63 - 1: "9.2 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := size(int(2048)); got != "2.0 kB" {
		t.Error(got)
	}
}
