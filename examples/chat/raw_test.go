package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// A raw is a BOSH client that sends what it is told to, and no more.
type raw struct {
	t      *testing.T
	url    string
	client *http.Client
	rid    int // of the last request
	sid    string
	wait   int // to ask for, in seconds
}

// newRaw returns a client of the program.
func newRaw(t *testing.T, chat *chat) *raw {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &raw{t: t, url: chat.http + "http-bind", client: &http.Client{Transport: tr}, rid: 100, wait: 60}
}

// request returns the next request, with these attributes and payloads.
func (r *raw) request(attrs, payloads string) *http.Request {
	r.t.Helper()
	r.rid++
	body := fmt.Sprintf("<body rid='%d' xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'%s", r.rid, attrs)
	if r.sid != "" {
		body += " sid='" + r.sid + "'"
	}
	req, err := http.NewRequest(http.MethodPost, r.url, strings.NewReader(body+">"+payloads+"</body>"))
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

// post sends a request and returns its answer.
func (r *raw) post(attrs, payloads string) string {
	r.t.Helper()
	text, err := r.do(r.request(attrs, payloads))
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *raw) do(req *http.Request) (string, error) {
	resp, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// hold sends an empty request, which the server may hold, and returns where its
// answer will be. It is for bubbles.
func (r *raw) hold() <-chan string {
	req, answer := r.request("", ""), make(chan string, 1)
	go func() {
		text, err := r.do(req)
		if err != nil {
			r.t.Error(err)
		}
		answer <- text
	}()
	synctest.Wait()
	return answer
}

// last sends a request and breaks its connection as soon as it is served. It is
// for bubbles.
func (r *raw) last(attrs string) {
	ctx, cancel := context.WithCancel(r.t.Context())
	req := r.request(attrs, "").WithContext(ctx)
	go r.do(req)
	synctest.Wait()
	cancel()
	synctest.Wait()
}

// create opens a session.
func (r *raw) create(to string) string {
	r.t.Helper()
	text := r.post(fmt.Sprintf(" hold='1' wait='%d' ver='1.6' xmpp:version='1.0'%s", r.wait, attrTo(to)), "")
	_, sid, _ := strings.Cut(text, "sid='")
	r.sid, _, _ = strings.Cut(sid, "'")
	return text
}

// login opens a session and makes it available.
func (r *raw) login(user, password string) {
	r.t.Helper()
	r.create("localhost")
	for _, step := range []struct{ attrs, payloads, want string }{
		{"", plain(user, password), "<success"},
		{" to='localhost' xmpp:restart='true'", "", "<bind"},
		{"", "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='" + nsBind + "'/></iq>", "<jid>"},
		{"", "<presence xmlns='jabber:client'/>", "<presence"},
	} {
		if text := r.post(step.attrs, step.payloads); !strings.Contains(text, step.want) {
			r.t.Fatalf("got %s; want %s", text, step.want)
		}
	}
}

func plain(user, password string) string {
	text := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	return "<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>" + text + "</auth>"
}
