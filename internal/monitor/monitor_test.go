package monitor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/internal/registry"
	"github.com/gobosh/bosh/internal/relay"
)

// A fake is a session of a test.
type fake struct {
	id      string
	agent   string
	to      []string
	secure  bool
	endings int
	look    Look
	addr    string
	domain  string // of a stream that is over
}

func (f *fake) ID() string   { return f.id }
func (f *fake) Secure() bool { return f.secure }
func (f *fake) Request() *http.Request {
	return &http.Request{Header: http.Header{"User-Agent": {f.agent}}}
}

// monitorOf returns a monitor of sessions in the order of a hash table: none.
func monitorOf(sessions ...*fake) http.Handler {
	return New(Source[*fake]{
		Totals: func() Totals {
			return Totals{Counts: registry.Counts{Requests: 12345, BytesOut: 2_500_000}, Sessions: int64(len(sessions)), Created: 99,
				Ended: map[string]int64{"closed": 3, "inactive": 7}, Refused: map[string]int64{"host-unknown": 4, "bad-request": 0},
				Relayed:     map[string]relay.Counts{"": {Failed: 17}, "node-b": {Out: 4711, In: 815}},
				MaxSessions: 500, Memory: 1_500_000, MaxMemory: 3_000_000, Uptime: 26 * time.Hour}
		},
		Sessions: iter.Seq[*fake](func(yield func(*fake) bool) {
			for _, i := range rand.Perm(len(sessions)) {
				if !yield(sessions[i]) {
					return
				}
			}
		}),
		Serial: func(f *fake) int64 { return serial(f.id) },
		Remote: func(f *fake) string { return cmp.Or(f.addr, "192.0.2.1:4711") },
		Names: func(f *fake) Names {
			n := Names{Label: f.look.Label, To: f.domain, Several: len(f.to) > 1}
			if len(f.to) > 0 {
				n.To = f.to[0]
			}
			return n
		},
		Look: func(f *fake) Look {
			l := f.look
			l.Requests, l.Open = 7, 1
			return l
		},
		Streams: func(f *fake) []string { return f.to },
		End:     func(f *fake) { f.endings++ },
	})
}

func many(n int) []*fake {
	all := make([]*fake, n)
	for i := range all {
		all[i] = &fake{id: strconv.FormatInt(int64(i+1), 36), to: []string{"example.com"}}
	}
	return all
}

func get(t *testing.T, h http.Handler, query string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/monitor"+query, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func list(t *testing.T, h http.Handler, query string) (l Listing) {
	t.Helper()
	w := get(t, h, query, "Accept", "application/json")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %s", w.Code, w.Header())
	}
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestJSON(t *testing.T) {
	h := monitorOf(&fake{id: "3k", agent: "curl/8", secure: true, to: []string{"a.example", "b.example"},
		look: Look{Label: "romeo", State: Held, Age: 90 * time.Second, Last: 1500 * time.Millisecond}})
	got := list(t, h, "")
	want := Session{ID: "3k", Label: "romeo", State: "held", Age: 90, Last: 1, Remote: "192.0.2.1:4711", Secure: true, Agent: "curl/8",
		Streams: []string{"a.example", "b.example"}, Counts: registry.Counts{Requests: 7, Open: 1}}
	if len(got.Sessions) != 1 || fmt.Sprint(got.Sessions[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got.Sessions, want)
	}
	if n := got.Totals; n.Refused["host-unknown"] != 4 || n.MaxSessions != 500 || n.MaxMemory != 3_000_000 || n.Seconds != 26*3600 || n.Version == "" {
		t.Errorf("got %+v", n)
	}
	if got.Totals.Requests != 12345 || got.Totals.Created != 99 || got.Totals.Ended["inactive"] != 7 || got.Next != "" {
		t.Errorf("got %+v", got)
	}
	if w := get(t, h, "?format=json"); w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("?format=json: %s", w.Header())
	}
	if w := get(t, monitorOf(), "?format=json"); !strings.Contains(w.Body.String(), `"sessions":[]`) {
		t.Errorf("no sessions: %s", w.Body)
	}
}

// Every session is on one page, and no page is longer than pageSize.
func TestPaging(t *testing.T) {
	h := monitorOf(many(3*pageSize + 7)...)
	var ids []string
	after := ""
	for pages := 1; ; pages++ {
		l := list(t, h, "?after="+after)
		if len(l.Sessions) > pageSize {
			t.Fatalf("%d sessions on a page", len(l.Sessions))
		}
		for _, s := range l.Sessions {
			ids = append(ids, s.ID)
		}
		if after = l.Next; after == "" {
			if pages != 4 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if len(ids) != 3*pageSize+7 || !slices.IsSortedFunc(ids, compareIDs) || len(slices.Compact(ids)) != len(ids) {
		t.Errorf("%d sessions: %v", len(ids), ids)
	}
	if l := list(t, monitorOf(many(pageSize)...), ""); l.Next != "" {
		t.Errorf("a page follows the last one, after %q", l.Next)
	}
}

func TestFind(t *testing.T) {
	h := monitorOf(many(500)...)
	if l := list(t, h, "?id=9f"); len(l.Sessions) != 1 || l.Sessions[0].ID != "9f" || l.Next != "" {
		t.Errorf("got %+v", l.Sessions)
	}
	if l := list(t, h, "?id=nobody"); len(l.Sessions) != 0 {
		t.Errorf("got %+v", l.Sessions)
	}
}

func post(t *testing.T, h http.Handler, form url.Values, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://ops.example/monitor", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEnd(t *testing.T) {
	a, b := &fake{id: "a"}, &fake{id: "b"}
	h := monitorOf(a, b)
	w := post(t, h, url.Values{"id": {"b"}, "back": {"q=x&page=3&evil=1&sort=queued"}}, "Sec-Fetch-Site", "same-origin")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "?page=3&q=x&sort=queued&ended=b" {
		t.Errorf("status %d, location %q", w.Code, w.Header().Get("Location"))
	}
	if a.endings != 0 || b.endings != 1 {
		t.Errorf("ended a %d times and b %d times", a.endings, b.endings)
	}
	w = post(t, h, url.Values{"id": {"a"}}, ProofHeader, "1", "Accept", "application/json")
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"ended":"a"}` || a.endings != 1 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	for _, accept := range []string{"text/html", "application/json"} {
		if w = post(t, h, url.Values{"id": {"c"}}, ProofHeader, "1", "Accept", accept); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d for nobody", accept, w.Code)
		}
	}
	if w = post(t, h, url.Values{"id": {strings.Repeat("a", 5000)}}, ProofHeader, "1"); w.Code != http.StatusBadRequest {
		t.Errorf("status %d for a long form", w.Code)
	}
	// The ID is taken from the form and from nowhere else.
	r := httptest.NewRequest(http.MethodPost, "/monitor?id=a", nil)
	r.Header.Set(ProofHeader, "1")
	if h.ServeHTTP(httptest.NewRecorder(), r); a.endings != 1 {
		t.Error("ended by the query")
	}
}

func TestMethods(t *testing.T) {
	h := monitorOf()
	r := httptest.NewRequest(http.MethodDelete, "/", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
}

// compareIDs orders IDs as their sessions began.
func compareIDs(a, b string) int { return cmp.Compare(serial(a), serial(b)) }

func ids(l Listing) (ids []string) {
	for _, s := range l.Sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// What is looked for is found by all that there is, and nothing else.
func TestSearch(t *testing.T) {
	h := monitorOf(
		&fake{id: "a", to: []string{"one.example"}, look: Look{Label: "Romeo Montague"}},
		&fake{id: "b", to: []string{"two.example", "THREE.example"}, look: Look{Label: "juliet"}},
		&fake{id: "c", addr: "[2001:db8::7]:443", domain: "four.example"},
	)
	for q, want := range map[string]string{
		"a": "a,b,c", "b": "b,c", "c": "c", "romeo": "a", "montague": "a", "JULIET": "b", "one.": "a", "three": "b", "2001:DB8": "c", "192.0.2.1": "a,b",
		"example": "a,b,c", "four": "c", "nobody": "", " juliet ": "b", "": "a,b,c",
	} {
		if got := strings.Join(ids(list(t, h, "?q="+url.QueryEscape(q))), ","); got != want && !(len(q) == 1 && strings.Contains(got, q)) {
			t.Errorf("%q: %q, want %q", q, got, want)
		}
	}
}

func TestSort(t *testing.T) {
	all := many(250)
	for i, f := range all {
		f.look.Queued, f.look.Unread, f.look.Repeats, f.look.Last = i%7, (i*37)%251, int64(250-i), time.Duration(i)*time.Second
	}
	h := monitorOf(all...)
	for sort, less := range map[string]func(a, b Session) bool{
		"age":      func(a, b Session) bool { return compareIDs(a.ID, b.ID) < 0 },
		"nonsense": func(a, b Session) bool { return compareIDs(a.ID, b.ID) < 0 },
		"new":      func(a, b Session) bool { return compareIDs(a.ID, b.ID) > 0 },
		"queued": func(a, b Session) bool {
			return a.Queued > b.Queued || a.Queued == b.Queued && compareIDs(a.ID, b.ID) < 0
		},
		"unread":  func(a, b Session) bool { return a.Unread > b.Unread },
		"repeats": func(a, b Session) bool { return a.Repeats > b.Repeats },
		"last":    func(a, b Session) bool { return a.Last > b.Last },
	} {
		var got []Session
		for page := 1; page <= 3; page++ {
			l := list(t, h, fmt.Sprintf("?sort=%s&page=%d", sort, page))
			if l.Page != page || l.Pages != 3 || l.Found != 250 {
				t.Errorf("%s: page %d of %d, %d", sort, l.Page, l.Pages, l.Found)
			}
			got = append(got, l.Sessions...)
		}
		if len(got) != 250 || !slices.IsSortedFunc(got, func(a, b Session) int {
			if less(b, a) {
				return 1
			}
			return -1
		}) {
			t.Errorf("%s: %d sessions, or out of order", sort, len(got))
		}
	}
	// A page that there is not is the last one.
	if l := list(t, h, "?page=99"); l.Page != 3 || len(l.Sessions) != 50 {
		t.Errorf("page %d has %d", l.Page, len(l.Sessions))
	}
	for _, page := range []string{"0", "-1", "x", "99999999999999999999"} {
		if l := list(t, h, "?page="+page); l.Page != 1 {
			t.Errorf("%s: page %d", page, l.Page)
		}
	}
}

// A page of 20,000 sessions takes less than 25 ms, however it is sorted.
func BenchmarkPage(b *testing.B) {
	all := many(20_000)
	for i, f := range all {
		f.look = Look{Counts: registry.Counts{Queued: i * 7919 % 20_000}, Label: "User" + f.id}
	}
	h := monitorOf(all...)
	for _, query := range []string{"", "?page=150", "?sort=queued", "?sort=queued&q=user4", "?q=192.0.2"} {
		b.Run(query, func(b *testing.B) {
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+query, nil))
			}
		})
	}
}
