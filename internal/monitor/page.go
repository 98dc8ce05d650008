package monitor

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	style string

	page = template.Must(template.New("page").Funcs(template.FuncMap{"size": size}).Parse(pageText))

	// policy lets the page have its style and its forms, and nothing else.
	policy = "default-src 'none'; style-src 'sha256-" + digest(style) + "'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A view is what the page is made of.
type view struct {
	Listing
	Style   template.CSS
	Reasons []reason
	ID      string // that was looked for
	After   string // where the page begins
	Ended   string // the session that was just ended
	Refresh int    // seconds; 0 for never
	Here    string // the query of this page, but for refresh
}

// A reason is one why sessions have ended.
type reason struct {
	Name  string
	Count int64
}

func writePage(w http.ResponseWriter, query url.Values, list Listing) {
	v := view{
		Listing: list, Style: template.CSS(style),
		ID: shorten(query.Get("id")), After: shorten(query.Get("after")), Ended: shorten(query.Get("ended")),
	}
	for _, name := range slices.Sorted(maps.Keys(list.Totals.Ended)) {
		v.Reasons = append(v.Reasons, reason{name, list.Totals.Ended[name]})
	}
	slices.SortStableFunc(v.Reasons, func(a, b reason) int { return cmp.Compare(b.Count, a.Count) })
	here := url.Values{}
	for name, value := range map[string]string{"id": v.ID, "after": v.After} {
		if value != "" {
			here.Set(name, value)
		}
	}
	v.Here = here.Encode()
	if n, err := strconv.Atoi(query.Get("refresh")); err == nil && n > 0 {
		v.Refresh = min(n, 3600)
		here.Set("refresh", strconv.Itoa(v.Refresh))
		w.Header().Set("Refresh", fmt.Sprintf("%d; url=?%s", v.Refresh, here.Encode()))
	}
	var b bytes.Buffer // whole, or not at all
	if err := page.Execute(&b, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

// size writes a number of bytes for people.
func size(n any) string {
	const units = "kMGTPE"
	b := fmt.Sprint(n)
	f, err := strconv.ParseFloat(b, 64)
	if err != nil || f < 1000 {
		return b + " B"
	}
	f /= 1000
	u := 0
	for ; f >= 999.5 && u < len(units)-1; u++ {
		f /= 1000
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %cB", f, units[u])
	}
	return fmt.Sprintf("%.0f %cB", f, units[u])
}
