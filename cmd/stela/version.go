package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionInfo struct {
	Version  string `json:"version" yaml:"version"`
	Commit   string `json:"commit" yaml:"commit"`
	Go       string `json:"go" yaml:"go"`
	Platform string `json:"platform" yaml:"platform"`
}

func newVersion(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  stela version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := currentVersion()
			t := &table{}
			t.add("version", info.Version)
			t.add("commit", info.Commit)
			t.add("go", info.Go)
			t.add("platform", info.Platform)
			return g.print(info, t)
		},
	}
}

func currentVersion() versionInfo {
	info := versionInfo{Version: "unknown", Commit: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	if build.Main.Version != "" {
		info.Version = build.Main.Version
	}
	for _, setting := range build.Settings {
		switch {
		case setting.Key == "vcs.revision":
			info.Commit = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			info.Commit += " (modified)"
		}
	}
	return info
}
