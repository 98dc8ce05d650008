package monitor

import (
	"errors"
	"mime"
	"net/http"
	"strings"
)

// ProofHeader is a header that no page of another origin can send. Programs
// other than browsers send it, with any value, to be let through.
const ProofHeader = "Bosh-Monitor"

var (
	crossOrigin = http.NewCrossOriginProtection()
	errUnproven = errors.New("this may be another site's doing: send the header " + ProofHeader + " with any value")
)

// sameOrigin returns an error unless a request is proven not to come from a
// page of another origin. Requests without any such header pass net/http, but
// are refused here: an old browser or a proxy may have left them out.
func sameOrigin(r *http.Request) error {
	if err := crossOrigin.Check(r); err != nil {
		return err
	}
	for _, name := range []string{"Sec-Fetch-Site", "Origin", ProofHeader} {
		if r.Header.Get(name) != "" {
			return nil
		}
	}
	return errUnproven
}

// wantsJSON reports whether the client prefers JSON: by ?format=json, or by
// naming it in Accept. No browser names it there to open a page.
func wantsJSON(r *http.Request) bool {
	if f := r.URL.Query().Get("format"); f != "" {
		return f == "json"
	}
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if t, _, err := mime.ParseMediaType(part); err == nil && t == "application/json" {
			return true
		}
	}
	return false
}
