package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newServe(g *general) *cobra.Command {
	return &cobra.Command{Use: "serve", RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), g) }}
}

func serve(context.Context, *general) error { return nil }
