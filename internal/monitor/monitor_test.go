package monitor

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gobosh/bosh/internal/registry"
)

// A fake is a session of a test.
type fake struct {
	id      string
	agent   string
	to      []string
	secure  bool
	endings int
}

func (f *fake) ID() string           { return f.id }
func (f *fake) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }
func (f *fake) Secure() bool         { return f.secure }
func (f *fake) Request() *http.Request {
	return &http.Request{Header: http.Header{"User-Agent": {f.agent}}}
}

// monitorOf returns a monitor of sessions in the order of a hash table: none.
func monitorOf(sessions ...*fake) http.Handler {
	return New(Source[*fake]{
		Totals: func() Totals {
			return Totals{Counts: registry.Counts{Requests: 12345, BytesOut: 2_500_000}, Sessions: int64(len(sessions)), Created: 99,
				Ended: map[string]int64{"closed": 3, "inactive": 7}}
		},
		Sessions: iter.Seq[*fake](func(yield func(*fake) bool) {
			for _, i := range rand.Perm(len(sessions)) {
				if !yield(sessions[i]) {
					return
				}
			}
		}),
		Counts:  func(f *fake) registry.Counts { return registry.Counts{Requests: 7, Open: 1} },
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
	h := monitorOf(&fake{id: "3k", agent: "curl/8", secure: true, to: []string{"a.example", "b.example"}})
	got := list(t, h, "")
	want := Session{ID: "3k", Remote: "192.0.2.1:4711", Secure: true, Agent: "curl/8",
		Streams: []string{"a.example", "b.example"}, Counts: registry.Counts{Requests: 7, Open: 1}}
	if len(got.Sessions) != 1 || fmt.Sprint(got.Sessions[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got.Sessions, want)
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
	w := post(t, h, url.Values{"id": {"b"}, "after": {"a"}}, "Sec-Fetch-Site", "same-origin")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "?after=a&ended=b" {
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
