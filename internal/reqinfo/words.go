package reqinfo

// words are the frequent values of clients and proxies. Each is kept as its index,
// in a byte if it is one of the first 64.
var words = [...]string{
	"POST", "HTTP/1.1", "HTTP/2.0", "/http-bind", "/http-bind/", sameURI,

	"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Content-Type", "Cookie", "Dnt",
	"Forwarded", "Origin", "Pragma", "Priority", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Gpc", "Te", "User-Agent", "Via", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip",

	"*/*", "?0", "?1", "close", "cors", "cross-site", "empty", "gzip, deflate", "gzip, deflate, br",
	"gzip, deflate, br, zstd", "http", "https", "keep-alive", "no-cache", "same-origin", "same-site",
	"text/plain;charset=UTF-8", "text/xml", "text/xml; charset=UTF-8", "text/xml; charset=utf-8", "trailers", "u=1, i",
}

var indexes = func() map[string]uint64 {
	m := make(map[string]uint64, len(words))
	for i, w := range words {
		m[w] = uint64(i)
	}
	return m
}()
