package main

import (
	"context"
)

// The tour's orders; the shop's price list has these articles.
var demoArticles = []string{"A"}

const (
	scarceArticle = "B"
	goodMethod    = "card"
	badMethod     = "declined:card_declined"
)

type demoShop struct {
	gateway string
	orders  []string
}

func (s *demoShop) stop() {}

func (d *demo) showShop(context.Context) error                { return nil }
func (d *demo) showRebuild(context.Context) error             { return nil }
func (d *demo) history(_ context.Context, order string) error { return nil }
func (d *demo) invite()                                       {}
