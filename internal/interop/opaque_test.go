//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobosh/bosh"
)

// clientUse is what the client of examples/python is put to: it sends as much as it
// receives, both at once, and ends in good order.
const clientUse = `
import hashlib, sys
b = Bosh(sys.argv[1], "example.com")
total, digest, line = 0, hashlib.sha256(), b""
while not line.endswith(b"\n"):
    line += b.recv()
sent = random.randbytes(300_000)
def sender():
    for i in range(0, len(sent), 10_000):
        b.send(sent[i:i+10_000])
threading.Thread(target=sender).start()
while total < len(sent):
    data = b.recv()
    assert data, "the end came early"
    total += len(data)
    digest.update(data)
assert digest.digest() == hashlib.sha256(sent).digest(), "not what was sent"
b.close()
assert b.recv() == b""
print(line.decode().strip(), digest.hexdigest())
`

// The client of examples/python, over a connection on which every fifth
// request or answer gets lost.
func TestOpaqueClient(t *testing.T) {
	code, err := os.ReadFile(filepath.Join("..", "..", "examples", "python", "bosh.py"))
	if err != nil {
		t.Fatal(err)
	}
	sum, ended := sha256.New(), make(chan error, 1)
	h := bosh.New(bosh.Options{Framing: bosh.Opaque, Logger: slog.New(slog.DiscardHandler), Serve: func(s *bosh.Stream) {
		io.WriteString(s, "welcome\n")
		io.Copy(s, io.TeeReader(s, sum))
		<-s.Context().Done()
		ended <- s.Session().Err()
	}})
	defer h.Close()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) % 10 {
		case 4:
			panic(http.ErrAbortHandler)
		case 9:
			h.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-c", string(code)+clientUse, server.URL)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("the session ended by %v", err)
	}
	if want := "welcome " + hex.EncodeToString(sum.Sum(nil)); strings.TrimSpace(string(out)) != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if n := h.Stats(); n.Repeats == 0 {
		t.Error("no request was repeated")
	}
	t.Logf("%d requests", requests.Load())
}
