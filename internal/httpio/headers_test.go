package httpio

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSet(t *testing.T) {
	const allowed, other = "https://good.example", "https://bad.example"
	list := Headers{AllowOrigin: func(o string) bool { return o == allowed }}
	for _, test := range [...]struct {
		name           string
		headers        Headers
		method, origin string
		want           http.Header // besides those that are always there
	}{
		{"any origin", Headers{}, "POST", other, http.Header{"Access-Control-Allow-Origin": {"*"}}},
		{"no origin", Headers{}, "POST", "", http.Header{"Access-Control-Allow-Origin": {"*"}}},
		{"preflight", Headers{}, "OPTIONS", other, http.Header{
			"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"POST, OPTIONS"},
			"Access-Control-Allow-Headers": {"Content-Type"}, "Access-Control-Max-Age": {"7200"},
		}},
		{"listed", list, "POST", allowed, http.Header{"Access-Control-Allow-Origin": {allowed}, "Vary": {"Accept", "Origin"}}},
		{"not listed", list, "POST", other, http.Header{"Vary": {"Accept", "Origin"}}},
		{"not listed, preflight", list, "OPTIONS", other, http.Header{"Vary": {"Accept", "Origin"}}},
		{"further headers", Headers{AllowHeaders: []string{"Authorization", "X-A"}}, "OPTIONS", other, http.Header{
			"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Methods": {"POST, OPTIONS"},
			"Access-Control-Allow-Headers": {"Content-Type, Authorization, X-A"}, "Access-Control-Max-Age": {"7200"},
		}},
		{"credentials", Headers{AllowOrigin: list.AllowOrigin, Credentials: true}, "POST", allowed, http.Header{
			"Access-Control-Allow-Origin": {allowed}, "Vary": {"Accept", "Origin"}, "Access-Control-Allow-Credentials": {"true"},
		}},
		{"credentials, not listed", Headers{AllowOrigin: list.AllowOrigin, Credentials: true}, "OPTIONS", other, http.Header{"Vary": {"Accept", "Origin"}}},
		{"credentials for anybody", Headers{Credentials: true}, "POST", allowed, http.Header{"Access-Control-Allow-Origin": {"*"}}},
		{"somebody else's", Headers{NoCORS: true}, "OPTIONS", other, http.Header{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/", nil)
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			hd := http.Header{}
			if test.headers.AllowOrigin != nil {
				hd.Set("Vary", "Accept") // of some middleware
			}
			test.headers.Set(hd, r.Method, r.Header["Origin"])
			want := test.want.Clone()
			want["Cache-Control"], want["X-Content-Type-Options"] = []string{"no-store"}, []string{"nosniff"}
			want["Content-Security-Policy"] = []string{"sandbox; default-src 'none'; frame-ancestors 'none'"}
			assert.Equal(t, want, hd)
		})
	}
}

// What somebody in front has decided stays as it is.
func TestPolicy(t *testing.T) {
	const page = "https://good.example"
	list := Headers{AllowOrigin: func(string) bool { return true }, Credentials: true}
	for _, test := range [...]struct {
		name        string
		headers     Headers
		method      string
		front, want http.Header
	}{
		{"an origin", Headers{}, "POST", http.Header{allowOrigin: {page}}, nil},
		{"an origin, where all are allowed", list, "POST", http.Header{allowOrigin: {page}, "Vary": {"Accept, origin"}}, nil},
		{"all of it", list, "OPTIONS", http.Header{
			allowOrigin: {page}, allowMethod: {"POST"}, allowHeader: {"X-A"}, accessMaxAge: {"1"}, allowCredentials: {"true"},
		}, nil},
		{"an origin, and no more", list, "OPTIONS", http.Header{allowOrigin: {page}}, http.Header{
			allowOrigin: {page}, allowMethod: {"POST, OPTIONS"}, allowHeader: {"Content-Type"}, accessMaxAge: {"7200"},
		}},
		{"credentials", Headers{}, "POST", http.Header{allowCredentials: {"true"}}, nil},
		{"no canonical name", Headers{}, "POST", http.Header{"access-control-allow-origin": {page}}, nil},
		{"no", Headers{}, "POST", http.Header{"Vary": {"Accept-Encoding", "Origin"}}, nil},
		{"no, asked before", Headers{}, "OPTIONS", http.Header{"Vary": {"Origin"}}, nil},
		{"nothing", Headers{}, "POST", http.Header{"Vary": {"Accept-Encoding"}}, http.Header{
			allowOrigin: {"*"}, "Vary": {"Accept-Encoding"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			hd := test.front.Clone()
			others := test.headers.Set(hd, test.method, []string{page})
			assert.Equal(t, test.name != "nothing", others)
			for _, name := range []string{"Cache-Control", "X-Content-Type-Options", "Content-Security-Policy"} {
				assert.NotEmpty(t, hd[name])
				delete(hd, name)
			}
			if test.want == nil {
				test.want = test.front
			}
			assert.Equal(t, test.want, hd)
		})
	}
	assert.False(t, (&Headers{NoCORS: true}).Set(http.Header{allowOrigin: {page}}, "POST", nil), "as the application wants it")
}

func TestForeign(t *testing.T) {
	list := Headers{AllowOrigin: func(o string) bool { return o == "https://good.example" }}
	for _, test := range [...]struct {
		headers      Headers
		origin, site string
		want         bool
	}{
		{Headers{}, "https://bad.example", "cross-site", false},
		{list, "", "", false}, // no browser
		{list, "https://good.example", "cross-site", false},
		{list, "https://bad.example", "cross-site", true},
		{list, "https://bad.example", "", true},
		{list, "null", "", true},
		{list, "https://bosh.example", "", false},               // the page of the host itself
		{list, "https://outside.example", "same-origin", false}, // behind a proxy that changes the host
		{Headers{NoCORS: true, AllowOrigin: list.AllowOrigin}, "https://bad.example", "", false},
	} {
		r := httptest.NewRequest("POST", "http://bosh.example/", nil)
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		if test.site != "" {
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		assert.Equal(t, test.want, test.headers.Foreign(r), "%+v", test)
	}
}
