package web_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gobosh/bosh/boshclient/web"
)

func get(h http.Handler, target string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	h := http.StripPrefix("/bosh", web.Handler())
	for name, mediaType := range map[string]string{
		"bosh.js":   "text/javascript; charset=utf-8",
		"bosh.d.ts": "text/plain; charset=utf-8",
	} {
		w := get(h, "/bosh/"+name, nil)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, mediaType, w.Header().Get("Content-Type"), name)
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
		want, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, string(want), w.Body.String())

		again := get(h, "/bosh/"+name, http.Header{"If-None-Match": {w.Header().Get("ETag")}})
		assert.Equal(t, http.StatusNotModified, again.Code)
		assert.Empty(t, again.Body.String())
	}
	for _, other := range []string{"", "package.json", "web.go", "x/../web.go"} {
		assert.Equal(t, http.StatusNotFound, get(h, "/bosh/"+other, nil).Code, other)
	}
}

// The npm package has its licence with it, as that asks for.
func TestLicense(t *testing.T) {
	want, err := os.ReadFile("../../LICENSE")
	require.NoError(t, err)
	got, err := os.ReadFile("LICENSE")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// Each name that the documentation exports is in the module, and the other way
// round.
func TestTypes(t *testing.T) {
	module, err := os.ReadFile("bosh.js")
	require.NoError(t, err)
	types, err := os.ReadFile("bosh.d.ts")
	require.NoError(t, err)
	for _, line := range strings.Split(string(module), "\n") {
		public := strings.HasPrefix(line, "export ")
		member := strings.HasPrefix(line, "  get ") || strings.HasPrefix(line, "  on") && strings.Contains(line, " = ")
		if !public && !member {
			continue
		}
		words := strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool { return strings.ContainsRune(" (={", r) })
		name := words[0]
		if public {
			name = words[2]
		} else if name == "get" {
			name = words[1]
		}
		if name != "children" && name != "firstElementChild" && name != "textContent" {
			assert.Regexp(t, `\b`+name+`\b`, string(types), "undocumented")
		}
	}
}
