//go:build interop

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobosh/bosh/boshtest"
	"github.com/gobosh/bosh/internal/demo"
)

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
}

// await asks for a URL until it is served.
func await(t *testing.T, url string) string {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			return string(text)
		}
	}
	t.Fatalf("%s is not served", url)
	return ""
}

// background runs a program until the test ends.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
}

// What the collector and the proxy show is as promtool has it, all in the table; the alerts
// fire when they should; and every query of the dashboard finds something in a scrape of both.
func TestWithPrometheus(t *testing.T) {
	dir := t.TempDir()
	promtool(t, "", "check", "rules", "alerts.yml")
	promtool(t, "", "test", "rules", "alerts_test.yml")

	service, h := newService()
	defer h.Close()
	mine := httptest.NewServer(service)
	defer mine.Close()
	c, err := boshtest.Dial(t.Context(), boshtest.Config{URL: mine.URL + "/http-bind"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	proxy := filepath.Join(dir, "bosh-proxy")
	build := exec.Command("go", "build", "-o", proxy, ".")
	build.Dir = "../proxy"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bosh, admin := demo.FreeAddr(), demo.FreeAddr()
	background(t, proxy, "-http", bosh, "-admin", admin, "-upstream", "127.0.0.1:1")
	await(t, "http://"+admin+"/healthz")

	known := documented(t)
	for _, url := range []string{mine.URL + "/metrics", "http://" + admin + "/metrics"} {
		text := await(t, url)
		promtool(t, text, "check", "metrics")
		there := make(map[string]bool)
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				name, _, _ := strings.Cut(line, " ")
				there[family(name)] = true
			}
		}
		for name := range there {
			if strings.HasPrefix(name, "bosh_") && !known[name] {
				t.Errorf("%s: %s is not in the table", url, name)
			}
		}
		for name := range known {
			if own := strings.HasPrefix(name, "bosh_proxy_"); !there[name] && !(own && strings.HasPrefix(url, mine.URL)) {
				t.Errorf("%s: no %s", url, name)
			}
		}
	}

	config := fmt.Sprintf("global: {scrape_interval: 250ms}\nrule_files: [%q]\nscrape_configs:\n- {job_name: collector, static_configs: [{targets: [%q]}]}\n- {job_name: proxy, static_configs: [{targets: [%q]}]}\n",
		abs(t, "alerts.yml"), strings.TrimPrefix(mine.URL, "http://"), admin)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	server := demo.FreeAddr()
	background(t, "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+server)
	await(t, "http://"+server+"/-/ready")

	queries := expressions(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(queries) > 0 {
		// Something happens, so that quantiles are numbers.
		c.Send(ctx, "<hello xmlns='urn:example'/>")
		if resp, err := http.Post("http://"+bosh+"/http-bind", "text/xml", strings.NewReader("<body rid='1' ver='1.11' to='a.example' wait='60' hold='1' xmlns='http://jabber.org/protocol/httpbind'/>")); err == nil {
			resp.Body.Close()
		}
		for title, exprs := range queries {
			answered := 0
			for _, expr := range exprs {
				if query(t, server, expr) {
					answered++
				}
			}
			if answered == len(exprs) {
				delete(queries, title)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nothing is found by %q", queries)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func abs(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// query reports whether a server finds something by a query of the dashboard.
func query(t *testing.T, server, expr string) bool {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "10s", "$job", ".*", "$instance", ".*").Replace(expr)
	resp, err := http.Get("http://" + server + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Status != "success" {
		t.Fatalf("%s: %v %s", expr, err, got.Error)
	}
	for _, r := range got.Data.Result {
		if strings.Contains(string(r), `"NaN"`) {
			return false
		}
	}
	return len(got.Data.Result) > 0
}
