package logs

import "unicode/utf8"

// MaxText is the longest text, in bytes. A longer one is cut and gets three dots
// besides.
const MaxText = 256

// Text returns s, or how it begins if it is long.
func Text(s string) string {
	if len(s) <= MaxText {
		return s
	}
	end := MaxText
	for end > MaxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// Error returns err, or if its text is long, an error with the beginning of that text.
func Error(err error) error {
	if err == nil {
		return nil
	}
	if s := err.Error(); len(s) > MaxText {
		return &long{Text(s), err}
	}
	return err
}

// A long is an error with a long text.
type long struct {
	text string
	err  error
}

func (l *long) Error() string { return l.text }
func (l *long) Unwrap() error { return l.err }
