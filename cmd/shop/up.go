package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/services"
	"github.com/stela-db/stela/services/event"
)

// logTimeout is how long the start waits for the log.
const logTimeout = 15 * time.Second

type up struct {
	*general

	roles    []string
	prices   map[string]string
	stock    map[string]int64
	currency string
	limit    string
	logLevel string
	logForm  string
}

func newUp(g *general) *cobra.Command {
	u := &up{general: g}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the services",
		Long: `Run the services in the foreground until Ctrl-C: ` + strings.Join(services.Roles(), ", ") + `.
All of them by default, or those named with --role, so that each can have a process
of its own. The gateway listens at --gateway, the others on the following ports in
the order above. Each keeps its state in a folder of its own below --data.

--price and --stock replace the price list and the opening stock that are built in.`,
		Example: `  shop up
  shop up --brokers 127.0.0.1:9092,127.0.0.1:9093 --http 127.0.0.1:9644,127.0.0.1:9645
  shop up --role payment --data /var/lib/shop
  shop up --price TEA=4.50 --stock TEA=100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&u.roles, "role", nil, "`services` to run, comma separated (default all)")
	flags.StringVar(&u.currency, "currency", event.DefaultCurrency, "`code` of the currency of the price list")
	flags.StringToStringVar(&u.prices, "price", nil, "`SKU=AMOUNT` of the price list, such as TEA=4.50")
	flags.StringToInt64Var(&u.stock, "stock", nil, "`SKU=PIECES` that are received at the very first start")
	flags.StringVar(&u.limit, "payment-limit", "", "`amount` above which the payment provider refuses (default none)")
	flags.StringVar(&u.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&u.logForm, "log-format", "text", "text or json")
	return cmd
}

func (u *up) run(ctx context.Context) error {
	config, err := u.shop()
	if err != nil {
		return err
	}
	if err := u.waitForLog(ctx, config.Client); err != nil {
		return err
	}
	roles := config.Roles
	if len(roles) == 0 {
		roles = services.Roles()
	}
	for _, role := range roles {
		address, err := services.AddressOf(u.Gateway, role)
		if err != nil {
			return command.Usage(err)
		}
		fmt.Fprintf(u.Out, "%-9s  http://%s\n", role, address)
	}
	return services.Run(ctx, config)
}

// shop is the configuration that the flags say.
func (u *up) shop() (services.Config, error) {
	config := u.config()
	logger, err := command.NewLogger(u.Err, u.logLevel, u.logForm)
	if err != nil {
		return config, err
	}
	config.Logger, config.Roles, config.Currency, config.Opening = logger, u.roles, u.currency, u.stock
	config.Fatal = func(err error) {
		os.Exit(report(u.Err, nil, command.Advise(err, "start the service again: what is missing comes back from the log")))
	}
	if err := config.Validate(); err != nil {
		return config, command.Usage(err)
	}
	amount := func(flag, text string) (int64, error) {
		minor, err := event.ParseAmount(text, u.currency)
		if err != nil {
			return 0, command.Usagef("--%s %q: %v", flag, text, err)
		}
		return minor, nil
	}
	if u.limit != "" {
		if config.PSPLimitMinor, err = amount("payment-limit", u.limit); err != nil {
			return config, err
		}
	}
	if len(u.prices) > 0 {
		config.Prices = map[string]int64{}
	}
	for sku, price := range u.prices {
		if config.Prices[sku], err = amount("price", price); err != nil {
			return config, err
		}
	}
	for sku, pieces := range u.stock {
		if pieces < 1 {
			return config, command.Usagef("--stock %s=%d: wanted one piece or more", sku, pieces)
		}
	}
	return config, nil
}

// waitForLog returns when a broker answers. Services wait for the log by themselves once
// they run; at the start a wrong address is more likely.
func (u *up) waitForLog(ctx context.Context, config client.Config) error {
	log, err := client.New(config)
	if err != nil {
		return command.Usage(err)
	}
	defer log.Close()
	waiting, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	if err := log.Ping(waiting); err != nil && ctx.Err() == nil {
		return command.Advise(err, "start the log with 'stela serve' or name its addresses with --brokers and --http")
	}
	return nil
}
