package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	devel := debug.Module{Path: module, Version: "(devel)"}
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                        {Main: debug.Module{Path: "a"}, Deps: []*debug.Module{{Path: module, Version: "v1.2.3"}}},
		"v1.2.4":                        {Main: debug.Module{Path: module, Version: "v1.2.4"}},
		"(devel)":                       {Main: devel},
		"(devel) 0123456789ab modified": {Main: devel, Settings: revision},
		"(devel) 0123456789ab": {Main: debug.Module{Path: "a", Version: "v9"}, Settings: revision[:1],
			Deps: []*debug.Module{{Path: module, Version: "v0.0.0", Replace: &devel}}},
	} {
		if got := of(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Module() == "" {
		t.Error("no version")
	}
}
