package boshclient

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/gobosh/bosh/internal/hostmeta"
)

// maxHostMeta is the largest host-meta document in bytes.
const maxHostMeta = 256 << 10

// ErrNoEndpoint is the error of [Discover] for a domain without a BOSH endpoint.
var ErrNoEndpoint = errors.New("the domain names no BOSH endpoint")

// Discover returns the URLs of the BOSH endpoints in a domain's host-meta document. It
// fetches the document by https, as XML and else as JSON. It returns https URLs only
// and follows redirects to https only. The order means nothing. Client is the one for
// the requests, with a Timeout if it has one; nil stands for one with the settings of
// [http.DefaultTransport]. XEP-0156.
//
// Dial one of the URLs with the domain as [Options.To]. If there is none, the error is
// [ErrNoEndpoint].
func Discover(ctx context.Context, domain string, client *http.Client) ([]string, error) {
	at := url.URL{Scheme: "https", Host: domain, Path: "/.well-known/host-meta"}
	if u, err := url.Parse(at.String()); err != nil || u.Host != domain || domain == "" {
		return nil, fmt.Errorf("boshclient: discover: %q is not a domain", domain)
	}
	client = secureClient(client)
	urls, err := fetch(ctx, client, at, "application/xrd+xml", parseXRD) // its error tells more than that of JSON
	if err != nil || len(urls) == 0 {
		at.Path += ".json"
		more, errJSON := fetch(ctx, client, at, "application/json", parseJRD)
		if errJSON == nil || err == nil { // either has been read
			urls, err = more, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && len(urls) == 0:
		err = ErrNoEndpoint
	}
	if err != nil {
		return nil, fmt.Errorf("boshclient: discover: %w", err)
	}
	return urls, nil
}

// secureClient returns a copy of a client for https only.
func secureClient(client *http.Client) *http.Client {
	if client == nil {
		client = defaultClient()
	}
	return follows(client, func(r *http.Request, _ []*http.Request) error {
		if r.URL.Scheme != "https" {
			return insecure(r)
		}
		return nil
	})
}

// A link is one of a host-meta document.
type link struct {
	Rel  string `xml:"rel,attr" json:"rel"`
	Href string `xml:"href,attr" json:"href"`
}

func fetch(ctx context.Context, client *http.Client, at url.URL, accept string,
	parse func([]byte) ([]link, error)) (urls []string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", at.Path, &StatusError{Status: resp.StatusCode})
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxHostMeta+1))
	if err != nil {
		return nil, err
	}
	if len(doc) > maxHostMeta {
		return nil, fmt.Errorf("%s: larger than %d bytes", at.Path, maxHostMeta)
	}
	links, err := parse(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at.Path, err)
	}
	for _, l := range links {
		u, err := url.Parse(l.Href)
		if l.Rel == hostmeta.BOSH && err == nil && u.Scheme == "https" && u.Host != "" && !slices.Contains(urls, l.Href) {
			urls = append(urls, l.Href)
		}
	}
	return urls, nil
}

func parseXRD(doc []byte) ([]link, error) {
	var xrd struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
		Links   []link   `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 Link"`
	}
	err := xml.Unmarshal(doc, &xrd)
	return xrd.Links, err
}

func parseJRD(doc []byte) ([]link, error) {
	var jrd struct {
		Links []link `json:"links"`
	}
	err := json.Unmarshal(doc, &jrd)
	return jrd.Links, err
}
