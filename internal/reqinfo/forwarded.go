package reqinfo

import "net/http"

// Forwarded reports whether a request has passed something in front.
func Forwarded(h http.Header) bool {
	for _, name := range ForwardedBy {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}

// ForwardedBy are the fields by which proxies say that they have passed a request on.
var ForwardedBy = [...]string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"}
