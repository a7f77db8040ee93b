import {
  ActionIcon,
  Alert,
  Anchor,
  AppShell,
  Burger,
  Button,
  Container,
  Group,
  NavLink,
  Stack,
  Title,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { lazy, Suspense, useCallback, useEffect, useState } from "react";
import { get, init, signOut, whenExpired, type Init, type Settings } from "./api";
import { address, useRoute } from "./hooks";
import { Problem, Waiting } from "./parts";
import { SignIn } from "./pages/signin";
import { text } from "./text";

const pages = {
  status: lazy(() => import("./pages/status")),
  actions: lazy(() => import("./pages/actions")),
  channels: lazy(() => import("./pages/channels")),
  connections: lazy(() => import("./pages/connections")),
  users: lazy(() => import("./pages/users")),
  why: lazy(() => import("./pages/why")),
  config: lazy(() => import("./pages/config")),
  tools: lazy(() => import("./pages/tools")),
};
type PageName = keyof typeof pages;
const names = Object.keys(pages) as PageName[];

export function App() {
  const [state, setState] = useState<Init>();
  const [error, setError] = useState("");
  const [expired, setExpired] = useState(false);
  const load = useCallback(() => {
    init().then(
      (found) => {
        setState(found);
        setError("");
      },
      (problem: unknown) => {
        setError(String(problem instanceof Error ? problem.message : problem));
        setTimeout(load, 3000);
      },
    );
  }, []);
  useEffect(() => {
    whenExpired(() => {
      setExpired(true);
      setState({ authenticated: false, insecure: false });
    });
    load();
  }, [load]);
  if (error)
    return (
      <Container size="xs" py="xl">
        <Problem error={error} />
      </Container>
    );
  if (!state)
    return (
      <Container size="xs" py="xl">
        <Waiting />
      </Container>
    );
  if (!state.authenticated)
    return (
      <SignIn
        expired={expired}
        onDone={() => {
          setExpired(false);
          load();
        }}
      />
    );
  return (
    <Shell
      insecure={state.insecure}
      onOut={() => {
        void signOut().finally(() => {
          setExpired(false);
          setState({ authenticated: false, insecure: false });
        });
      }}
    />
  );
}

function Shell({ insecure, onOut }: { insecure: boolean; onOut: () => void }) {
  const route = useRoute();
  const [open, setOpen] = useState(false);
  const [settings, setSettings] = useState<Settings>();
  const [error, setError] = useState("");
  const name = (names as string[]).includes(route.page) ? (route.page as PageName) : "status";
  useEffect(() => {
    get<Settings>("settings").then(setSettings, (problem: Error) => setError(problem.message));
  }, []);
  useEffect(() => {
    document.title = `${text.pages[name]} · ${text.product}`;
    setOpen(false);
  }, [name]);
  const Page = pages[name];
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !open } }}
      padding="md"
      transitionDuration={0}
    >
      <a className="skip" href={`#/${name}`} onClick={() => document.getElementById("content")?.focus()}>
        {text.skip}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={open} onClick={() => setOpen(!open)} hiddenFrom="sm" size="sm" aria-label={text.menu} />
            <img src="./icon.svg" alt="" width={26} height={26} />
            <Anchor href={address("status")} underline="never" c="inherit" fw={700}>
              {text.product}
            </Anchor>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Theme />
            {!insecure && (
              <Button variant="default" size="compact-sm" onClick={onOut}>
                {text.signIn.out}
              </Button>
            )}
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs">
        {names.map((each) => (
          <NavLink
            key={each}
            href={address(each)}
            label={text.pages[each]}
            active={each === name}
            {...(each === name ? { "aria-current": "page" as const } : {})}
          />
        ))}
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>
        <Stack gap="md">
          {insecure && (
            <Alert color="red.9" variant="filled" role="alert">
              {text.insecureBanner}
            </Alert>
          )}
          <Title order={1} size="h2">
            {text.pages[name]}
          </Title>
          <Problem error={error} />
          <Suspense fallback={<Waiting />}>
            {settings && <Page key={`${name}?${route.query.toString()}`} settings={settings} query={route.query} />}
          </Suspense>
        </Stack>
      </AppShell.Main>
    </AppShell>
  );
}

function Theme() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  return (
    <ActionIcon
      variant="default"
      aria-label={text.theme}
      title={text.theme}
      onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}
    >
      {scheme === "dark" ? "☀" : "☾"}
    </ActionIcon>
  );
}
