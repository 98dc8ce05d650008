package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// defaultHealth is where health asks if it is not told.
const defaultHealth = "127.0.0.1:5280"

// health asks a running proxy whether it takes sessions. It is for containers without
// any other program.
func health(ctx context.Context, args []string, stderr io.Writer) int {
	where := defaultHealth
	if len(args) > 0 {
		where = args[0]
	}
	if len(args) > 1 || strings.HasPrefix(where, "-") {
		fmt.Fprintf(stderr, "usage: %s health [URL or host:port]\n", program)
		return exitUsage
	}
	urls := []string{where}
	if !strings.Contains(where, "://") {
		urls = []string{"http://" + where + healthPath, "https://" + where + healthPath}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var errs []error
	for _, url := range urls {
		err := healthy(ctx, url)
		if err == nil {
			return 0
		}
		errs = append(errs, err)
	}
	fmt.Fprintf(stderr, "%s: %v\n", program, errors.Join(errs...))
	return exitFailed
}

func healthy(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	local := r.URL.Hostname() == "localhost" || net.ParseIP(r.URL.Hostname()).IsLoopback()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: local}, // the certificate is for the clients' name
		DisableKeepAlives: true,
	}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
