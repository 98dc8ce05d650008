package logs

import (
	"log/slog"
	"time"
)

// IdleClosed logs that a connection of a proxy in front was closed, after being idle for so
// long.
func IdleClosed(log *slog.Logger, limit time.Duration) {
	log.Warn("bosh: a connection of a front was idle for too long and is closed; a request may have been on its way, which gets 502:"+
		" have the proxy in front close idle connections earlier, or raise idle-timeout", "idle-timeout", limit)
}
