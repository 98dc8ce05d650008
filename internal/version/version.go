// Package version tells the version of this module in a program.
package version

import (
	"runtime/debug"
	"sync"
)

const module = "github.com/gobosh/bosh"

// Set is the version given to the linker, as by -ldflags "-X
// github.com/gobosh/bosh/internal/version.Set=v1.2.3"; or empty.
var Set string

// Module returns the version of the module: as v1.2.3, or (devel) with the revision
// of the build, as far as the build knows.
var Module = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	switch {
	case Set != "":
		return Set
	case !ok:
		return "(unknown)"
	}
	return of(info)
})

func of(info *debug.BuildInfo) string {
	for _, m := range info.Deps {
		if m.Path == module && m.Replace == nil {
			return m.Version
		}
	}
	version := "(devel)"
	if info.Main.Path == module && info.Main.Version != "" && info.Main.Version != version {
		return info.Main.Version
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = " " + s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " modified"
		}
	}
	return version + revision + modified
}
