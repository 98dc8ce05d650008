package monitor

import (
	"net/http"
	"net/url"
	"testing"
)

func TestSameOrigin(t *testing.T) {
	for name, test := range map[string]struct {
		header []string
		want   int
	}{
		"own page":               {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://ops.example"}, http.StatusSeeOther},
		"own page, old browser":  {[]string{"Origin", "http://ops.example"}, http.StatusSeeOther},
		"own page, TLS in front": {[]string{"Origin", "https://ops.example"}, http.StatusSeeOther},
		"program":                {[]string{ProofHeader, "1"}, http.StatusSeeOther},
		"other site":             {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}, http.StatusForbidden},
		"sister site":            {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://evil.ops.example"}, http.StatusForbidden},
		"other site, old":        {[]string{"Origin", "http://evil.example"}, http.StatusForbidden},
		"other port":             {[]string{"Origin", "http://ops.example:81"}, http.StatusForbidden},
		"hidden origin":          {[]string{"Origin", "null"}, http.StatusForbidden},
		"no proof":               {nil, http.StatusForbidden},
		"proof of another site":  {[]string{ProofHeader, "1", "Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{id: "a"}
			w := post(t, monitorOf(f), url.Values{"id": {"a"}}, test.header...)
			if w.Code != test.want {
				t.Errorf("status %d, want %d: %s", w.Code, test.want, w.Body)
			}
			if ended := f.endings > 0; ended != (test.want == http.StatusSeeOther) {
				t.Errorf("ended: %v", ended)
			}
		})
	}
}

func TestWantsJSON(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                false,
		"*/*":                             false,
		"application/json":                true,
		"text/plain, application/json":    true,
		"Application/JSON;q=0.9, */*;q=0": true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8": false,
	} {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		if got := wantsJSON(r); got != want {
			t.Errorf("%q: %v", accept, got)
		}
		r.URL.RawQuery = "format=html"
		if wantsJSON(r) {
			t.Errorf("%q: JSON with format=html", accept)
		}
	}
}
