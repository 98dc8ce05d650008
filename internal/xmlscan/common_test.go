package xmlscan

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCommonTags(t *testing.T) {
	n := 0
	for h := range commons {
		for _, c := range commons[h].tags {
			if c.text == "" {
				continue
			}
			n++
			for _, child := range []string{
				"<a><" + c.text + "</a>", "<a xmlns='v'><" + c.text + "<b/></a>", "<a><" + c.text[:len(c.text)-2] + "></a>",
				"<a><" + c.text[:len(c.text)-3] + "&amp;" + c.text[len(c.text)-3:] + "</a>", "<a><" + c.text, "<" + c.text, "<a><" + strings.Repeat("b><", 3) + c.text,
			} {
				for _, s := range []*Scanner{
					{Watch: c.uri}, {Watch: "urn:w"}, {}, {Limits: Limits{Depth: 2}}, {Limits: Limits{Depth: 3, Attrs: 1, Bindings: 1}},
				} {
					sameInParts(t, s, "<r xmlns='d'>"+child+"<z/></r>")
				}
			}
		}
	}
	sameInParts(t, new(Scanner), "<r><a><"+strings.Repeat("\x00", 20)+"</a></r>")
	assert.Equal(t, 40, n, "two of them have the same hash")
}
