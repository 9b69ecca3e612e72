package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(g *general) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  stela version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := currentVersion()
			t := &command.Table{}
			t.Add("version", info.Version)
			t.Add("commit", info.Commit)
			t.Add("go", info.Go)
			t.Add("platform", info.Platform)
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
